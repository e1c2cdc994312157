//! `kaspath`: composes the crates of this workspace into a relay, a server and
//! a client. What it decides is only what fits together with what.

#![warn(clippy::unwrap_used)]

mod cli;
mod descriptors;
mod gateway;
mod node;
mod output;
mod peers;
mod relay;
mod run;
mod settings;
mod signals;
mod simulate;
mod tasks;

use std::{process::ExitCode, sync::Arc};

use clap::Parser;

use cli::{Cli, Command, ConfigCommand};

/// The exit code for a wrong flag, file or environment variable.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Exec(args) => {
            if let Err(error) = run::exec(&args.command) {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        }
        Command::Config(args) => return config(&args.what),
        Command::Simulate(args) => {
            return simulate::run(args).map_or_else(
                |error| {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        _ => {}
    }
    let mut settings = match settings::resolve(&cli.command, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    output::start_logs(&settings.output);
    if cli.command.has_network() {
        match descriptors::provide(&mut settings) {
            Ok(None) => {}
            Ok(Some(lowered)) => output::Printer::new(settings.output.clone()).warning(&lowered),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::from(USAGE);
            }
        }
    }
    let command = Arc::new(cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match command.as_ref() {
            Command::Relay(_) => relay::run(settings, command.clone()).await,
            Command::Server(_) | Command::Client(_) => node::run(settings, command.clone()).await,
            Command::Gateway(_) | Command::Run(_) => gateway::run(settings, command.clone()).await,
            Command::Id(_) => {
                println!("{}", settings.key()?.identity());
                Ok(())
            }
            Command::Peers(args) => peers::run(&settings.peer_book(), &args.what),
            // Done already; or it has become another program.
            Command::Config(_) | Command::Exec(_) | Command::Simulate(_) => Ok(()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", settings_redacted(&command, &format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// `kaspath config`.
fn config(what: &ConfigCommand) -> ExitCode {
    match what {
        ConfigCommand::Example => print!("{}", include_str!("../../../docs/kaspath.example.toml")),
        ConfigCommand::Check { file } => {
            // Not this machine's environment: the file alone.
            if let Err(error) = settings::check(file, |name| (name == "HOME").then(|| "/".to_owned())) {
                eprintln!("error: {error:#}");
                return ExitCode::from(USAGE);
            }
            println!("{} is valid", file.display());
        }
    }
    ExitCode::SUCCESS
}

fn settings_redacted(command: &Command, text: &str) -> String {
    if command.common().redact { output::redact(text) } else { text.to_owned() }
}
