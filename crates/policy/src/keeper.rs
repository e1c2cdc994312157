//! Keeps a peer reached.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{MonotonicClock, Path, PeerIdentity, RetryCadence};
use tokio::{sync::watch, time::sleep};

use crate::MovePace;

/// A session shorter than this counts as a failure for the cadence.
const SHORT: Duration = Duration::from_secs(10);
/// Between two retries, if the cadence has no more to say.
const LONGEST: Duration = Duration::from_secs(120);

/// The session with one peer that is to be kept, whatever a session is: a light peer's
/// own, or a gateway's between the peer and kaspad. One at a time.
#[async_trait]
pub trait KeptSession: Send + Sync {
    /// Begins the session once it is wanted, and returns when it is established. Dropping the
    /// future cancels what is under way.
    ///
    /// # Errors
    /// Why there is no session.
    async fn begin(&self) -> Result<(), String>;

    /// Returns when there is no session. Dropping the future loses nothing.
    async fn ended(&self);

    /// Returns when the session is on a relay and could move to a direct
    /// path. Dropping the future loses nothing.
    async fn relayed(&self);

    /// Moves the session to the direct path that there is now; it may end for that, and
    /// is begun again then.
    ///
    /// # Errors
    /// Why it stays where it is.
    async fn move_to_direct(&self) -> Result<(), String>;

    /// Something has happened to the session.
    fn report(&self, event: KeeperEvent);
}

/// What a keeper reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The session could not begin.
    Failed {
        /// Why.
        cause: String,
    },
    /// It is begun again after this time.
    Retrying {
        /// The time.
        after: Duration,
    },
    /// A direct path has come up, but the session has not moved to it.
    StaysRelayed {
        /// Why.
        cause: String,
    },
}

/// Keeps sessions: begins each again when it has ended, by a cadence, and moves it when
/// a direct path to its peer comes up. Cheap to clone; clones share how often sessions
/// move.
#[derive(Clone)]
pub struct Keeper {
    cadence: RetryCadence,
    moves: Arc<Mutex<MovePace>>,
    clock: MonotonicClock,
    random: fn() -> f64,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("cadence", &self.cadence).finish_non_exhaustive()
    }
}

impl Keeper {
    /// `random` gives numbers between 0 and 1, by which retries are spread.
    pub fn new(moves: MovePace, clock: MonotonicClock, random: fn() -> f64) -> Self {
        Self { cadence: RetryCadence::persistent(), moves: Arc::new(Mutex::new(moves)), clock, random }
    }

    /// Keeps the session with `peer`; `best` is the best path that there is to it. Runs
    /// until it is dropped.
    pub async fn keep(&self, session: &dyn KeptSession, peer: Option<&PeerIdentity>, best: watch::Receiver<Option<Path>>) {
        let mut failures = 0;
        loop {
            let begin = self.clock.now();
            match session.begin().await {
                Ok(()) => {
                    self.stay(session, peer, best.clone()).await;
                    failures = if self.clock.now().since(begin) < SHORT { failures + 1 } else { 0 };
                }
                Err(cause) => {
                    failures += 1;
                    session.report(KeeperEvent::Failed { cause });
                }
            }
            let after = self.cadence.delay(failures.max(1), (self.random)()).unwrap_or(LONGEST);
            session.report(KeeperEvent::Retrying { after });
            sleep(after).await;
        }
    }

    /// Returns when the session, which is established, has ended. Until then it is moved as in
    /// [`Keeper::keep`].
    pub async fn stay(&self, session: &dyn KeptSession, peer: Option<&PeerIdentity>, mut best: watch::Receiver<Option<Path>>) {
        loop {
            tokio::select! {
                () = session.ended() => return,
                () = self.should_move(session, peer, &mut best) => {
                    if let Err(cause) = session.move_to_direct().await {
                        session.report(KeeperEvent::StaysRelayed { cause });
                    }
                }
            }
        }
    }

    /// Returns when the session is to move, and counts that.
    async fn should_move(
        &self,
        session: &dyn KeptSession,
        peer: Option<&PeerIdentity>,
        best: &mut watch::Receiver<Option<Path>>,
    ) {
        // Without an identity there is no other path to the peer.
        let Some(peer) = peer else { return std::future::pending().await };
        loop {
            session.relayed().await;
            if best.wait_for(|best| best.as_ref().is_some_and(|path| !path.is_relayed())).await.is_err() {
                return std::future::pending().await;
            }
            let taken = self.moves.lock().unwrap_or_else(PoisonError::into_inner).take(peer, self.clock.now());
            match taken {
                Ok(()) => return,
                // Then it moves if the path is still there.
                Err(wait) => sleep(wait).await,
            }
        }
    }
}
