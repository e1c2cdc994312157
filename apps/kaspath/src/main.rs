//! `kaspath`: composes the crates of this workspace into a relay, a server, a client and a
//! gateway. What it decides is only what fits together with what.

#![warn(clippy::unwrap_used)]

mod cli;
mod control;
mod descriptors;
mod discovering;
mod exit;
mod gateway;
mod id;
mod level;
mod lock;
mod mapping;
mod metrics;
mod node;
mod output;
mod panics;
mod peers;
mod probe;
mod relay;
mod run;
mod settings;
mod signals;
mod simulate;
mod tasks;
mod usage;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Command, ConfigCommand};
use output::{OutputSettings, WarningCode};
use settings::Settings;

/// Time for blocking work, such as resolving a name, whose result is not needed any more.
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

/// Settings that cannot be used.
#[derive(Debug)]
struct WrongSettings(anyhow::Error);

impl fmt::Display for WrongSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for WrongSettings {}

/// Runs the command, and prints why it failed; returns its exit code.
fn program() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::explain(&error, std::env::args_os()),
    };
    let redacted = settings::redacts(&cli);
    let format = cli.command.common().map(|common| common.log_format).unwrap_or_default();
    let how = OutputSettings { format, redact: redacted, ..OutputSettings::default() };
    match command(cli, redacted) {
        Ok(code) => {
            output::stopped();
            code
        }
        Err(error) if error.is::<WrongSettings>() => {
            output::refused(&format!("error: {error}"), how);
            exit::USAGE
        }
        Err(error) => {
            // A reader that has gone, like `head`, needs no message.
            if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() != io::ErrorKind::BrokenPipe) {
                output::failed(&error, how);
            }
            exit::FAILURE
        }
    }
}

fn command(cli: Cli, redacted: bool) -> Result<u8> {
    let environment = |name: &str| std::env::var(name).ok();
    let result = match &cli.command {
        Command::Probe(args) => return probe::run(&probe::Plan::new(args).map_err(WrongSettings)?, redacted),
        Command::Exec(args) => run::exec(&args.command),
        Command::Simulate(args) => simulate::run(args),
        Command::Config(what) => config(what),
        Command::Status(args) => {
            control::status(args, &settings::control_sockets(args, environment).map_err(WrongSettings)?, redacted)
        }
        Command::Id(args) => id::run(settings::identity_files(args, environment).map_err(WrongSettings)?),
        _ => with_settings(settings::resolve(&cli, environment).map_err(WrongSettings)?, cli),
    };
    result.map(|()| 0)
}

fn with_settings(mut settings: Settings, cli: Cli) -> Result<()> {
    if settings.output.redact {
        output::hide_names(settings.host_names());
    }
    if let Command::Peers(args) = &cli.command {
        return control::peers(&settings, &args.what, settings.output.redact);
    }
    output::start_logs(settings.output);
    if let Some(lowered) = descriptors::provide(&mut settings).map_err(WrongSettings)? {
        output::Printer::new(settings.output).warn(WarningCode::Descriptors, &lowered);
    }
    // Held to the end.
    let _lock = lock::take(settings.identity())?
        .inspect_err(|cause| tracing::warn!("no lock keeps a second program from this identity: {cause}"));
    run_program(settings, cli)
}

fn run_program(settings: Settings, cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        signals::watch().context("cannot watch for signals")?;
        match &cli.command {
            Command::Relay(_) => relay::run(settings, cli).await,
            Command::Server(_) | Command::Client(_) => node::run(settings, cli).await,
            _ => gateway::run(settings, cli).await,
        }
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    result
}

/// `kaspath config`.
fn config(what: &ConfigCommand) -> Result<()> {
    match what {
        ConfigCommand::Example => output::answer(include_str!("../../../docs/kaspath.example.toml"), false),
        ConfigCommand::Check { file } => {
            // Only the file, not this machine's environment.
            settings::check(file, |name| (name == "HOME").then(|| "/".to_owned())).map_err(WrongSettings)?;
            output::answer(&format!("{} is valid\n", file.display()), false)
        }
    }
}
