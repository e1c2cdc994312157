//! What the program gives: texts, and notifications of changes.

use std::sync::Arc;

use tokio::sync::Notify;

/// Gives a value when it is asked for. It may block for a moment: it runs on a thread of its
/// own.
pub type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What a program has to show.
#[derive(Clone)]
pub struct Content {
    /// Its status: one JSON object without line breaks, as the control socket answers it.
    pub status: Source<String>,
    /// Whether it can do its work, and if not, why.
    pub ready: Source<Result<(), String>>,
    /// Its metrics, in the OpenMetrics text format; `None` if it has none.
    pub metrics: Option<Source<String>>,
    /// Notified when the status has changed in a way that a reader should see at once.
    pub changes: Changes,
}

/// Notifies that something has changed. It holds at most one notification, however many are
/// given. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Notify>);

impl Changes {
    /// Something has changed.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits for a change since the last call. Dropping the future loses nothing.
    pub(crate) async fn notified(&self) {
        self.0.notified().await;
    }
}
