//! SIGINT and SIGTERM, and a panic as another reason to stop.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::panics;

/// Returns at the first SIGINT or SIGTERM, with it. A second one ends the process
/// at once, for a user who is out of patience. A panic anywhere counts as SIGTERM.
pub(crate) async fn stop_requested() -> std::io::Result<Signal> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let which = tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
        () = panics::panicked() => Signal::SIGTERM,
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(which)
}
