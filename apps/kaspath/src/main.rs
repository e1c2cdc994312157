//! `kaspath`: composes the crates of this workspace into a relay, a server and
//! a client. What it decides is only what fits together with what.

#![warn(clippy::unwrap_used)]

mod cli;
mod gateway;
mod node;
mod output;
mod relay;
mod run;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// The exit code for a wrong flag, file or environment variable.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Exec(args) = &cli.command
        && let Err(error) = run::exec(&args.command)
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let settings = match settings::resolve(&cli.command, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    output::start_logs(&settings.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match &cli.command {
            Command::Relay(_) => relay::run(settings).await,
            Command::Server(_) | Command::Client(_) => node::run(settings).await,
            Command::Gateway(_) | Command::Run(_) => gateway::run(settings).await,
            Command::Id(_) => {
                println!("{}", settings.key()?.identity());
                Ok(())
            }
            // It has become another program by now.
            Command::Exec(_) => Ok(()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", settings_redacted(&cli, &format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn settings_redacted(cli: &Cli, text: &str) -> String {
    if cli.command.common().redact { output::redact(text) } else { text.to_owned() }
}
