//! SIGINT and SIGTERM, and a panic as another reason to stop.

use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::{output, panics};

/// SIGINT and SIGTERM, watched for from before anybody can know that the program runs.
static WATCHED: Mutex<Option<(Signals, Signals)>> = Mutex::new(None);

/// From here on the two signals end nothing by themselves; [`stop_requested`] sees them.
pub(crate) fn watch() -> std::io::Result<()> {
    let both = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    *WATCHED.lock().unwrap_or_else(PoisonError::into_inner) = Some(both);
    Ok(())
}

/// Returns at the first SIGINT or SIGTERM, with it. A second one ends the process
/// at once, for a user who does not want to wait. A panic anywhere counts as SIGTERM.
pub(crate) async fn stop_requested() -> std::io::Result<Signal> {
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (mut interrupt, mut terminate) = match watched {
        Some(both) => both,
        None => (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?),
    };
    let which = tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
        // That has been said already.
        () = panics::panicked() => return Ok(stop(Signal::SIGTERM, interrupt, terminate)),
    };
    output::stopping(which.as_str());
    Ok(stop(which, interrupt, terminate))
}

/// From here on another signal ends the process.
fn stop(which: Signal, mut interrupt: Signals, mut terminate: Signals) -> Signal {
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    which
}
