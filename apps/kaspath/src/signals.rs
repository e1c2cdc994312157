//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the first SIGINT or SIGTERM. A second one ends the process at
/// once, for a user who is out of patience.
pub(crate) async fn stop_requested() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}
