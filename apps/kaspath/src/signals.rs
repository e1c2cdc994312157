//! SIGINT and SIGTERM.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Returns at the first SIGINT or SIGTERM, with it. A second one ends the process
/// at once, for a user who is out of patience.
pub(crate) async fn stop_requested() -> std::io::Result<Signal> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let which = tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
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
