//! Sessions with peers that nobody has named.

use crate::{Gateway, KeptPeer};

impl Gateway {
    /// Begins a session with a peer unless there is one, calls `up` once there is one, and
    /// returns when it has ended. Dropping the future ends a session that this gateway has
    /// begun.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(&self, kept: KeptPeer, up: impl FnOnce() + Send) -> Result<(), String> {
        let (sessions, peer) = (&self.0.sessions, kept.peer.clone());
        let mut changes = sessions.changes();
        let mut up = Some(up);
        let session = async {
            loop {
                changes.borrow_and_update();
                if sessions.contains(&peer) {
                    up.take().into_iter().for_each(|up| up());
                } else if up.is_none() {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            kept = self.keep(kept, |_| {}) => kept.map_err(|error| error.to_string()),
            () = session => Ok(()),
        }
    }
}
