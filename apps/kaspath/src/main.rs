//! `kaspath`: composes the crates of this workspace into a relay, a server, a client and a
//! gateway. What it decides is only what fits together with what.

#![warn(clippy::unwrap_used)]

mod cli;
mod compose;
mod control;
mod descriptors;
mod exit;
mod gateway;
mod id;
mod lock;
mod node;
mod output;
mod panics;
mod peers;
mod relay;
mod run;
mod settings;
mod signals;
mod simulate;
mod tasks;
mod usage;

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Command, ConfigArgs, ConfigCommand};
use lock::IdentityLock;
use settings::Settings;

/// Time for blocking work, such as resolving a name, that nobody waits for any more.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    panics::watch();
    let code = catch_unwind(AssertUnwindSafe(program)).unwrap_or(exit::INTERNAL);
    output::flush();
    ExitCode::from(exit_status(code))
}

/// The exit code of a program that means to end with `code`.
fn exit_status(code: u8) -> u8 {
    if panics::happened() { exit::INTERNAL } else { code }
}

/// Runs the command; returns its exit code.
fn program() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::explain(&error, std::env::args_os()),
    };
    let environment = |name: &str| std::env::var(name).ok();
    // Commands that need no settings, or other ones.
    let done = match &cli.command {
        Command::Exec(args) => run::exec(&args.command),
        Command::Simulate(args) => simulate::run(args),
        Command::Config(args) => return config(args),
        Command::Status(args) => match settings::control_sockets(args, environment) {
            Ok(sockets) => {
                let redacted = settings::redacts(&cli.command);
                return end(control::status(args, &sockets, redacted), redacted);
            }
            Err(error) => return wrong_settings(&error, settings::redacts(&cli.command)),
        },
        Command::Id(args) => match settings::identity_files(&args.folder, environment) {
            Ok(files) => id::run(args, &files),
            Err(error) => return wrong_settings(&error, settings::redacts(&cli.command)),
        },
        _ => match settings::resolve(&cli.command, environment) {
            Ok(settings) => return with_settings(settings, cli.command),
            Err(error) => return wrong_settings(&error, settings::redacts(&cli.command)),
        },
    };
    end(done, false)
}

fn with_settings(mut settings: Settings, command: Command) -> u8 {
    let redacted = settings.output.redact;
    if redacted {
        output::hide_names(settings.host_names());
    }
    if let Command::Peers(args) = &command {
        return end(control::peers(&settings, &args.what, redacted), redacted);
    }
    output::start_logs(&settings.output);
    match descriptors::provide(&mut settings) {
        Ok(None) => {}
        Ok(Some(lowered)) => output::Printer::new(settings.output.clone()).warning(&lowered),
        Err(error) => return wrong_settings(&error, redacted),
    }
    // Held to the end.
    let _lock = match IdentityLock::take(settings.identity()) {
        Ok(Ok(lock)) => Some(lock),
        Ok(Err(cause)) => {
            tracing::warn!("no lock keeps a second program from this identity: {cause}");
            None
        }
        Err(error) => return end(Err(error), redacted),
    };
    end(run_program(settings, Arc::new(command)), redacted)
}

fn run_program(settings: Settings, command: Arc<Command>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        signals::watch().context("cannot watch for signals")?;
        match command.as_ref() {
            Command::Relay(_) => relay::run(settings, command.clone()).await,
            Command::Server(_) | Command::Client(_) => node::run(settings, command.clone()).await,
            Command::Gateway(_) | Command::Run(_) => gateway::run(settings, command.clone()).await,
            // Done already; or it has become another program.
            _ => Ok(()),
        }
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    result
}

/// Says how it ended.
fn end(result: Result<()>, redacted: bool) -> u8 {
    match result {
        Ok(()) => 0,
        // A reader that has gone, like `head`, needs no words.
        Err(error) if is_broken_pipe(&error) => exit::FAILURE,
        Err(error) => {
            output::fatal(&error, redacted);
            exit::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn wrong_settings(error: &anyhow::Error, redacted: bool) -> u8 {
    output::fatal_lines(&format!("error: {error:#}"), redacted);
    exit::USAGE
}

/// `kaspath config`.
fn config(args: &ConfigArgs) -> u8 {
    match &args.what {
        ConfigCommand::Example => end(output::answer(include_str!("../../../docs/kaspath.example.toml"), false), false),
        ConfigCommand::Check { file } => {
            // Not this machine's environment: the file alone.
            if let Err(error) = settings::check(file, |name| (name == "HOME").then(|| "/".to_owned())) {
                return wrong_settings(&error, args.redact || settings::file_redacts(file));
            }
            end(output::answer(&format!("{} is valid\n", file.display()), false), false)
        }
    }
}
