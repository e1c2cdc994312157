//! Reports at the start whether kaspad can be reached.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::output::Printer;

/// Time for a kaspad that is just being started: it opens its databases before its port.
const KASPAD_STARTS: Duration = Duration::from_secs(60);
/// kaspad is on this machine: it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(2);

/// Says whether kaspad can be reached: that it cannot, at once or, where this program
/// starts it, after a while; and that it can, if it was missed. Does not return: later
/// each peer's session shows it.
pub(super) async fn report(kaspad: SocketAddr, is_ours: bool, printer: Printer) {
    let patience = if is_ours { KASPAD_STARTS } else { Duration::ZERO };
    let begin = Instant::now();
    let mut missed = false;
    while let Err(cause) =
        timeout(TIMEOUT, TcpStream::connect(kaspad)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    {
        if !missed && begin.elapsed() >= patience {
            missed = true;
            let event = json!({ "event": "kaspad-unreachable", "address": kaspad, "cause": cause.to_string() });
            printer.event(&event, unreachable(kaspad, is_ours, &cause));
        }
        sleep(INTERVAL).await;
    }
    if missed {
        let event = json!({ "event": "kaspad-reachable", "address": kaspad });
        printer.event(&event, format!("kaspad answers at {kaspad}: peers can reach it from now on"));
    }
    std::future::pending().await
}

fn unreachable(kaspad: SocketAddr, is_ours: bool, cause: &io::Error) -> String {
    let cure =
        if is_ours { "What it prints says what it waits for" } else { "Start kaspad, or name its P2P address with --kaspad" };
    format!(
        "warning: kaspad cannot be reached at {kaspad} ({cause}): this node can be found, but every peer is refused until kaspad \
         answers. {cure}"
    )
}
