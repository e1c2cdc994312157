//! The keeper over a session that does as it is told, in virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{MonotonicClock, Path, PeerIdentity, RelayReason, Transport};
use kaspath_policy::{Keeper, KeeperEvent, KeptSession, MovePace};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

const DIRECT: Path = Path::Direct { transport: Transport::Tcp };

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn relayed() -> Path {
    Path::Relayed { relay: peer(8), reason: RelayReason::PunchPending }
}

/// What was asked of the session, and when.
type Log = Arc<Mutex<Vec<(&'static str, u64)>>>;

struct Scripted {
    begin: Instant,
    log: Log,
    /// How long each session lasts; none fails to begin.
    lasts: Mutex<Vec<Option<Duration>>>,
    until: Mutex<Instant>,
    path: watch::Sender<Path>,
    moves: bool,
}

impl Scripted {
    fn new(lasts: &[Option<u64>], path: Path, moves: bool) -> Self {
        let lasts = lasts.iter().rev().map(|seconds| seconds.map(Duration::from_secs)).collect();
        let (begin, path) = (Instant::now(), watch::channel(path).0);
        Self { begin, log: Log::default(), lasts: Mutex::new(lasts), until: Mutex::new(begin), path, moves }
    }

    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push((what, self.begin.elapsed().as_secs()));
    }
}

#[async_trait]
impl KeptSession for Scripted {
    async fn begin(&self) -> Result<(), String> {
        self.note("begin");
        let Some(lasts) = self.lasts.lock().unwrap().pop() else { return std::future::pending().await };
        *self.until.lock().unwrap() = Instant::now() + lasts.unwrap_or_default();
        lasts.map(drop).ok_or_else(|| "nobody is there".to_owned())
    }

    async fn ended(&self) {
        let until = *self.until.lock().unwrap();
        tokio::time::sleep_until(until).await;
    }

    async fn relayed(&self) {
        let _ = self.path.subscribe().wait_for(Path::is_relayed).await;
    }

    async fn move_to_direct(&self) -> Result<(), String> {
        self.note("move");
        if !self.moves {
            return Err("it is gone again".to_owned());
        }
        self.path.send_replace(DIRECT);
        Ok(())
    }

    fn report(&self, event: KeeperEvent) {
        self.note(match event {
            KeeperEvent::Failed { .. } => "failed",
            KeeperEvent::Retrying { .. } => "retrying",
            KeeperEvent::StaysRelayed { .. } => "stays",
        });
    }
}

/// Keeps the session for so long; what was asked of it.
async fn kept(session: Scripted, best: watch::Receiver<Option<Path>>, seconds: u64) -> Vec<(&'static str, u64)> {
    let keeper = Keeper::new(MovePace::default(), MonotonicClock::start(), || 0.5);
    let _ = timeout(Duration::from_secs(seconds), keeper.keep(&session, Some(&peer(1)), best)).await;
    session.log.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_session_is_begun_again_by_the_cadence_and_a_short_one_is_a_failure() {
    let (_best, watch) = watch::channel(None);
    let session = Scripted::new(&[None, None, Some(3), Some(60)], DIRECT, true);
    let log = kept(session, watch, 300).await;
    let begun: Vec<u64> = log.iter().filter(|(what, _)| *what == "begin").map(|(_, at)| *at).collect();
    // After 1 s, 2 s, then 3 s of session and 5 s more; a long one begins again after 1 s.
    assert_eq!(begun, [0, 1, 3, 11, 72]);
}

#[tokio::test(start_paused = true)]
async fn a_relayed_session_moves_when_a_direct_path_comes_up_even_while_nobody_looked() {
    let (best, watch) = watch::channel(Some(relayed()));
    let session = Scripted::new(&[Some(1_000)], relayed(), true);
    // It came up and the news of it is old when the session begins.
    best.send_replace(Some(DIRECT));
    let log = kept(session, watch, 500).await;
    assert_eq!(log, [("begin", 0), ("move", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_direct_session_stays_where_it_is() {
    let (_best, watch) = watch::channel(Some(DIRECT));
    let log = kept(Scripted::new(&[Some(1_000)], DIRECT, true), watch, 500).await;
    assert_eq!(log, [("begin", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_fails_is_tried_again_after_minutes_while_the_path_stands() {
    let (best, watch) = watch::channel(Some(DIRECT));
    let session = Scripted::new(&[Some(10_000)], relayed(), false);
    let gone = tokio::spawn(async move {
        sleep(Duration::from_secs(700)).await;
        best.send_replace(None);
        std::future::pending::<()>().await;
    });
    let log = kept(session, watch, 2_000).await;
    gone.abort();
    let moves: Vec<u64> = log.iter().filter(|(what, _)| *what == "move").map(|(_, at)| *at).collect();
    assert_eq!(moves, [0, 300, 600], "{log:?}");
}
