//! How long one end of a session may outlast the other.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Once one end has closed, time for the other to finish: HTTP/2 has no use for
/// half a connection, and a peer must not hold a slot with one. It does not begin while
/// a stream only waits for a path: that is no end.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// That time, which begins with the first poll.
#[derive(Default)]
pub(crate) struct HalfClosed(Option<Pin<Box<Sleep>>>);

impl HalfClosed {
    /// Ready when it is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED))).as_mut().poll(cx)
    }
}
