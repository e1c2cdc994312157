//! A peer's stream into kaspad.

use std::sync::{Arc, PoisonError};

use kaspath_domain::{
    Activity, Direction, DuplexStream, ListenError, PeerClass, PeerGroup, PeerIdentity, RefuseReason, StreamListener, make_slot,
};
use tokio::task::JoinSet;

use crate::{
    CloseReason, Hold, RefusalReason,
    activity::Noting,
    kaspad,
    pipe::{self, Session},
    sessions::SessionSlot,
    shared::{Refused, Shared, pass_panic_on},
};

pub(crate) async fn serve(shared: Arc<Shared>, listener: Arc<dyn StreamListener>) -> ListenError {
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => return error,
            },
            Some(ended) = running.join_next() => {
                pass_panic_on(ended);
                continue;
            }
        };
        let Some(peer) = stream.info().peer.clone() else { continue };
        match admit(&shared, &peer, &stream) {
            Ok(Some((slot, hold))) => {
                running.spawn(join(shared.clone(), stream, slot, hold));
            }
            // The present session is kept.
            Ok(None) => {}
            Err(refused) => shared.refuse(Direction::Inbound, &peer, refused),
        }
    }
}

/// A slot for the peer's session, and its address; `None` if the present one is to be
/// kept. What the peer shares with others is taken only with the slot.
fn admit(shared: &Shared, peer: &PeerIdentity, stream: &DuplexStream) -> Result<Option<(SessionSlot, Hold)>, Refused> {
    let now = shared.parts.clock.now();
    // Held throughout: of two peers that ask at once, each sees what the other was given.
    let mut rates = shared.rates.lock().unwrap_or_else(PoisonError::into_inner);
    rates.ask(peer, now).map_err(Refused::by(RefusalReason::TooOften))?;
    if let Some(refused) = shared.closed() {
        return Err(refused);
    }
    let wall_time = (shared.parts.wall_clock)();
    if shared.table.is_banned(peer, wall_time) {
        return Err(Refused::by(RefusalReason::Banned)(RefuseReason::Banned));
    }
    let class = PeerClass::of(stream.info(), &stream.path());
    let group = PeerGroup::of(&class);
    let is_new = !shared.table.knows(peer);
    rates.check(&group, is_new, now).map_err(Refused::by(RefusalReason::TooOften))?;
    // A peer that comes again replaces its own session, which is most likely dead.
    let others = shared.sessions.inbound_but(peer);
    let evicted = make_slot((Some(peer), &class), others, now, |request| shared.parts.admission.admit(request));
    let evicted = evicted.map_err(|reason| match reason {
        RefuseReason::Banned => Refused::by(RefusalReason::Banned)(reason),
        _ => Refused::by(RefusalReason::NoSlot)(reason),
    })?;
    let activity = Arc::new(Activity::new(stream.counters(), now));
    let Some(slot) = shared.sessions.enter(peer, Some(class), stream.path_watch(), activity) else { return Ok(None) };
    let hold = shared.table.hold(peer, wall_time).map_err(Refused::by(RefusalReason::NoAddress))?;
    rates.begin(&group, is_new, now);
    for evicted in evicted {
        shared.sessions.end(&evicted, CloseReason::Evicted);
    }
    Ok(Some((slot, hold)))
}

async fn join(shared: Arc<Shared>, mut stream: DuplexStream, slot: SessionSlot, hold: Hold) {
    // What lasts for a moment is boxed, for what an idle session waits in stays small.
    match Box::pin(kaspad::connect(hold.address(), shared.parts.kaspad)).await {
        Ok(mut kaspad) => {
            let session = Session { hold, direction: Direction::Inbound, slot };
            let (path, noting) = (stream.path(), Noting::new(session.slot.activity(), shared.parts.clock));
            let copying = Box::pin(pipe::copy(&mut stream, &mut kaspad, noting));
            let ending = session.run(&shared, path, copying).await;
            Box::pin(session.close(&shared, ending, stream, kaspad)).await;
        }
        Err(cause) => {
            shared.refuse(Direction::Inbound, hold.peer(), Refused { reason: RefusalReason::KaspadUnreachable, cause });
        }
    }
}
