//! Reports at the start whether kaspad can be reached.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::output::{Printer, ProgramEvent, Readiness};

/// Time for a kaspad that is just being started: it opens its databases before its port.
const KASPAD_STARTS: Duration = Duration::from_secs(60);
/// kaspad is on this machine: it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(2);

/// Says whether kaspad can be reached: that it cannot, at once or, where this program
/// starts it, after a while; and that it can, if it was missed. Does not return: later
/// each peer's session shows it.
pub(super) async fn report(kaspad: SocketAddr, is_ours: bool, readiness: Readiness, printer: Printer) {
    let patience = if is_ours { KASPAD_STARTS } else { Duration::ZERO };
    let begin = Instant::now();
    let mut missed = false;
    while let Err(cause) =
        timeout(TIMEOUT, TcpStream::connect(kaspad)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    {
        readiness.kaspad(Err(format!("{kaspad}: {cause}")));
        if !missed && begin.elapsed() >= patience {
            missed = true;
            printer.own(&ProgramEvent::KaspadUnreachable { address: kaspad, cause: cause.to_string(), is_ours });
        }
        sleep(INTERVAL).await;
    }
    if missed {
        printer.own(&ProgramEvent::KaspadReachable { address: kaspad });
    }
    readiness.kaspad(Ok(()));
    std::future::pending().await
}
