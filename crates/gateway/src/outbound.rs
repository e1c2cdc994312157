//! Sessions that this node begins.

use std::{sync::Arc, time::Duration};

use kaspath_domain::{Activity, Direction, DuplexStream, PeerConnector, PeerIdentity, PeerTarget};
use kaspath_policy::Keeper;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    Hold, RefusalReason,
    activity::Noting,
    bridge::{Bridge, Broken, End},
    kaspad,
    pipe::{CLOSING, Session},
    shared::{Refused, Shared},
};

/// Between two checks whether kaspad is there, or a ban has ended: nothing reports it.
const POLL: Duration = Duration::from_secs(2);

/// A peer that kaspad is to be joined to.
pub struct KeptPeer {
    /// Who.
    pub peer: PeerIdentity,
    /// Where, with its identity.
    pub target: PeerTarget,
    /// What opens streams to it.
    pub connector: Arc<dyn PeerConnector>,
    /// What keeps the session with it.
    pub keeper: Keeper,
}

struct Remote {
    shared: Arc<Shared>,
    peer: PeerIdentity,
    target: PeerTarget,
    connector: Arc<dyn PeerConnector>,
    /// Whether others have told of it. Such a peer gets an address, and with it a place in the
    /// book, only once it has answered: else whoever tells of peers fills the book.
    is_told: bool,
}

pub(crate) async fn keep(shared: Arc<Shared>, kept: KeptPeer) {
    let KeptPeer { peer, target, connector, keeper } = kept;
    shared.sessions.pin(&peer);
    let remote = Remote { shared, peer, target, connector, is_told: false };
    // A failure has been reported by its kind already.
    keeper.keep(|| remote.session(), |_| {}).await;
}

/// One session with a peer that others have told of. It is neither begun again nor pinned.
pub(crate) async fn reach(
    shared: Arc<Shared>,
    target: PeerTarget,
    connector: Arc<dyn PeerConnector>,
    up: impl FnOnce() + Send,
) -> Result<(), String> {
    let peer = target.peer.clone().ok_or("the peer has no identity")?;
    if shared.table.is_banned(&peer, (shared.parts.wall_clock)()) {
        return Err("the peer is banned".to_owned());
    }
    let remote = Remote { shared, peer, target, connector, is_told: true };
    let announced = async {
        remote.until(|| remote.exists()).await;
        up();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = remote.session() => ended,
        () = announced => Ok(()),
    }
}

impl Remote {
    fn refused(&self, refused: Refused) -> String {
        let cause = refused.cause.clone();
        self.shared.refuse(Direction::Outbound, &self.peer, refused);
        cause
    }

    fn exists(&self) -> bool {
        self.shared.sessions.contains(&self.peer)
    }

    fn hold(&self) -> Result<Hold, Refused> {
        self.shared.table.hold(&self.peer, (self.shared.parts.wall_clock)()).map_err(Refused::by(RefusalReason::NoAddress))
    }

    /// Whether a session may begin now.
    fn may_begin(&self) -> bool {
        self.shared.closed().is_none() && !self.shared.table.is_banned(&self.peer, (self.shared.parts.wall_clock)())
    }

    /// Returns when it holds.
    async fn until(&self, holds: impl Fn() -> bool) {
        let (mut node, mut sessions) = (self.shared.kaspad.subscribe(), self.shared.sessions.changes());
        loop {
            sessions.borrow_and_update();
            node.borrow_and_update();
            if holds() {
                return;
            }
            tokio::select! {
                _ = node.changed() => {}
                _ = sessions.changed() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    async fn stream(&self) -> Result<DuplexStream, Refused> {
        self.connector.connect(&self.target).await.map_err(Refused::by(RefusalReason::PeerUnreachable))
    }

    /// kaspad's session with the peer, until it has ended. One that the peer began is as
    /// good. The peer is not asked for anything before kaspad is there.
    async fn session(&self) -> Result<(), String> {
        let mut is_reported = false;
        loop {
            self.until(|| self.exists() || self.may_begin()).await;
            if self.exists() {
                break;
            }
            let opened = if self.is_told { Some(self.stream().await.map_err(|refused| self.refused(refused))?) } else { None };
            let hold = self.hold().map_err(|refused| self.refused(refused))?;
            match kaspad::connect(hold.address(), self.shared.parts.kaspad).await {
                Ok(kaspad) => {
                    self.join(hold, kaspad, opened).await.map_err(|refused| self.refused(refused))?;
                    break;
                }
                Err(cause) => {
                    let cause = Refused { reason: RefusalReason::KaspadUnreachable, cause };
                    if opened.is_some() {
                        return Err(self.refused(cause));
                    }
                    if !std::mem::replace(&mut is_reported, true) {
                        self.refused(cause);
                    }
                    sleep(POLL).await;
                }
            }
        }
        self.until(|| !self.exists()).await;
        Ok(())
    }

    /// One session, unless the peer's own came first and is the one to keep.
    async fn join(&self, hold: Hold, mut kaspad: TcpStream, opened: Option<DuplexStream>) -> Result<(), Refused> {
        let mut stream = match opened {
            Some(stream) => stream,
            None => self.stream().await?,
        };
        if !self.may_begin() {
            // It was banned meanwhile, and had no session to end.
            return Ok(());
        }
        let clock = self.shared.parts.clock;
        let activity = Arc::new(Activity::new(stream.counters(), clock.now()));
        let path = stream.path_watch();
        let entered = self.shared.sessions.enter(&self.peer, None, path.clone(), activity.clone());
        let Some(slot) = entered else { return Ok(()) };
        let session = Session { hold, direction: Direction::Outbound, slot };
        let ending = {
            let mut bridge = tokio::select! {
                opened = Bridge::open(&mut stream, &mut kaspad) => opened?,
                // Nothing has been joined yet: there is nothing to report.
                _ = session.slot.ended() => return Ok(()),
            };
            let mut noting = Noting::new(activity, clock);
            let copying = async { bridge.run(|| noting.note()).await.map_err(|broken| broken.to_string()) };
            let ending = session.run(&self.shared, path.current(), copying).await;
            let _ = timeout(CLOSING, bridge.end()).await;
            ending
        };
        session.close(&self.shared, ending, stream, kaspad).await;
        Ok(())
    }
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        let reason = match broken.end {
            End::Peer => RefusalReason::PeerUnreachable,
            End::Kaspad => RefusalReason::KaspadUnreachable,
        };
        Self { reason, cause: broken.to_string() }
    }
}
