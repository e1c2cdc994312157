//! The status, sent again and again to those that listen. It is made once for all of them,
//! and each takes the newest when it can: nothing queues.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kaspath_domain::{Slot, Slots};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::WatchStream;

use crate::Content;

/// Listeners at once.
pub(crate) const MAX_LISTENERS: usize = 8;
/// The longest time from one status to the next, by which a listener knows that we are alive.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest: a reader sees a change within a quarter of a second.
const SHORTEST: Duration = Duration::from_millis(250);
/// Time for a listener. Browsers begin again by themselves, and one that does not read any
/// more holds its slot no longer.
pub(crate) const LISTENING: Duration = Duration::from_secs(300);
/// When a browser that has lost its connection tries again, in milliseconds.
const RETRY: u32 = 500;

/// What listeners take from.
pub(crate) struct Live {
    newest: watch::Sender<Bytes>,
    slots: Slots<()>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { newest: watch::Sender::new(Bytes::new()), slots: Slots::new(MAX_LISTENERS) }
    }

    /// Each status from now on; `None` if there are too many listeners.
    pub(crate) fn listen(&self, content: &Content) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let slot: Slot<()> = self.slots.take([])?;
        let newest = WatchStream::from_changes(self.newest.subscribe());
        // The first one comes at once.
        content.changes.notify();
        let newest = newest.map(move |status| {
            let _held = &slot;
            status
        });
        Some(newest.take_until(Box::pin(sleep(LISTENING))))
    }

    /// Makes a status when something has changed, and at least once a second, as long as
    /// somebody listens. Runs until it is dropped.
    pub(crate) async fn keep_up(&self, content: &Content) {
        loop {
            let _ = timeout(LONGEST - SHORTEST, content.changes.notified()).await;
            if self.newest.receiver_count() > 0 {
                let status = content.status.clone();
                // One that panics has ended the program already.
                if let Ok(status) = spawn_blocking(move || status()).await {
                    self.newest.send_replace(event(&status));
                }
            }
            sleep(SHORTEST).await;
        }
    }
}

/// A status as a server-sent event, whose data is one line.
fn event(status: &str) -> Bytes {
    format!("retry: {RETRY}\ndata: {status}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::time::Instant;

    use super::*;
    use crate::Changes;

    fn content() -> Content {
        let count = AtomicU64::new(0);
        Content {
            status: Arc::new(move || count.fetch_add(1, Ordering::Relaxed).to_string()),
            ready: Arc::new(|| Ok(())),
            metrics: None,
            changes: Changes::default(),
        }
    }

    #[tokio::test]
    async fn a_change_is_seen_soon_and_many_changes_are_one() {
        let (live, content) = (Live::new(), content());
        let mut listening = live.listen(&content).unwrap();
        let ours = content.clone();
        let begin = Instant::now();
        let reading = async {
            let first = listening.next().await.unwrap();
            assert_eq!(first, "retry: 500\ndata: 0\n\n", "nothing is made before somebody listens");
            for _ in 0..1000 {
                ours.changes.notify();
            }
            assert_eq!(listening.next().await.unwrap(), "retry: 500\ndata: 1\n\n");
            let soon = begin.elapsed();
            assert!(soon >= SHORTEST && soon < LONGEST, "{soon:?}");
            let _ = listening.next().await.unwrap();
            assert!(begin.elapsed() >= 2 * SHORTEST);
        };
        tokio::select! {
            () = live.keep_up(&content) => {}
            () = reading => {}
        }
    }

    #[tokio::test]
    async fn listeners_are_bounded_and_one_that_goes_makes_room() {
        let (live, content) = (Live::new(), content());
        let mut all: Vec<_> = (0..MAX_LISTENERS).map(|_| live.listen(&content).unwrap()).collect();
        assert!(live.listen(&content).is_none());
        all.pop();
        assert!(live.listen(&content).is_some());
    }
}
