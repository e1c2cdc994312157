//! `kaspath-lab`: two private hosts behind real NATs, a relay on the lab's own
//! internet, and the real `kaspath` program on each. Everything lives in
//! namespaces of this process and is gone with it.
//!
//! | folder | what it knows |
//! |---|---|
//! | `net` | namespaces, NATs, wires with delay and loss |
//! | `attack` | what a hostile host sends |
//! | `scenario` | what is tried, and what must come of it |

#![warn(clippy::unwrap_used)]

mod attack;
mod cli;
mod evidence;
mod net;
mod process;
mod scenario;
mod stats;
mod stock;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, Command};
use net::sandbox;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    // These run inside the lab's hosts already.
    let result = if is_part(&cli.command) || sandbox::is_inside() {
        runtime.block_on(run(cli))
    } else {
        runtime.block_on(sandbox::enter()).map(ExitCode::from)
    };
    result.unwrap_or_else(|error| fail(&error))
}

fn is_part(command: &Command) -> bool {
    matches!(
        command,
        Command::Stock(_)
            | Command::Pump(_)
            | Command::Flows(_)
            | Command::Rpc(_)
            | Command::Idle(_)
            | Command::Attack(_)
            | Command::Honest(_)
            | Command::Browse(_)
            | Command::Witness(_)
    )
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("lab: {error:#}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let scenario = async {
        match cli.command {
            Command::Demo(args) => scenario::demo(&args).await,
            Command::Matrix(args) => scenario::matrix(&args).await,
            Command::Bench(args) => scenario::bench(&args).await,
            Command::Paths(args) => scenario::paths(&args).await,
            Command::Page(args) => scenario::page(&args).await,
            Command::Browse(args) => scenario::browse(&args).await,
            Command::Kaspad(args) => scenario::kaspad(&args).await,
            Command::Gateway(args) => scenario::gateway(&args).await,
            Command::Restarts(args) => scenario::restarts(&args).await,
            Command::Survive(args) => scenario::survive(&args).await,
            Command::Crowd(args) => scenario::crowd(&args).await,
            Command::Memory(args) => scenario::memory(&args).await,
            Command::Idle(args) => scenario::idle(&args).await,
            Command::Reload(args) => scenario::reload(&args).await,
            Command::OwnPolicy(args) => scenario::own_policy(&args).await,
            Command::Rpc(args) => scenario::rpc(&args).await,
            Command::Stock(args) => stock::run(&args).await,
            Command::Abuse(args) => scenario::abuse(&args).await,
            Command::Alerts(args) => scenario::alerts(&args).await,
            Command::Addresses(args) => scenario::addresses(&args).await,
            Command::OneToOne(args) => scenario::one_to_one(&args).await,
            Command::Families(args) => scenario::families(&args).await,
            Command::LateDns(args) => scenario::late_dns(&args).await,
            Command::Discovery(args) => scenario::discovery(&args).await,
            Command::Dnsaddr(args) => scenario::dnsaddr(&args).await,
            Command::PublicNode(args) => scenario::public_node(&args).await,
            Command::Mapping(args) => scenario::mapping(&args).await,
            Command::Attack(args) => attack::attack(&args).await,
            Command::Honest(args) => scenario::honest(&args).await,
            Command::Witness(args) => attack::witness(&args).await,
            Command::Pump(args) => scenario::pump(&args).await,
            Command::Rates(args) => scenario::rates(&args).await,
            Command::Flows(args) => scenario::flows(&args).await,
        }
    };
    tokio::select! {
        result = scenario => result.map(|()| ExitCode::SUCCESS),
        // As the first process of its namespace, its end is the end of all in it.
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}
