//! Checks whether a node can be reached: the relay asks others of its nodes to dial.
//!
//! For such a check the relay does not dial, two of its nodes do. (It dials those who list
//! themselves, in `rendezvous`.) What a node asks about must have the IP address from which
//! it is connected right now, so nobody can make others dial a third host.

use futures::future::join_all;
use kaspath_domain::{IpPrefix, TransportAddress};
use libp2p::Stream;
use rand::random;
use tokio::sync::oneshot;

use super::{
    behaviour::Behaviour,
    load::RelayService,
    tasks::{Asker, Done},
};
use crate::{
    convert,
    core::{CheckAnswer, DialBackOutcome, DialBackWanted, FIRST_PORT},
    reach::{self, Request, Response},
};

/// Nodes that dial for one check, each of another network.
const HELPERS: usize = 2;

impl Behaviour {
    /// A node asks whether it can be reached.
    pub(super) fn check(&mut self, by: Asker, mut stream: Stream, request: Request) {
        let Asker { peer, connection: _, origin, slot } = by;
        let now = self.clock.now();
        let is_own =
            |address: &TransportAddress| address.port >= FIRST_PORT && origin.is_some_and(|origin| origin.is_of(address));
        let checked = request.address.filter(|(_, address)| is_own(address));
        let admitted = self.admit_service(&peer, origin).ok().filter(|_| self.service() == RelayService::Open);
        let room = admitted.and_then(|origin| Some((self.checks.admit(&peer, origin, now)?, origin)));
        let dialled = match (checked, &room) {
            (Some((index, address)), Some((_, origin))) => {
                let wanted = DialBackWanted { peer: convert::identity(&peer), address, nonce: request.nonce };
                Ok((index, self.have_dialled(wanted, origin.prefix)))
            }
            (None, _) => Err(Response::Refused),
            (_, None) => Err(Response::Rejected),
        };
        self.tasks.spawn(async move {
            let response = match dialled {
                Ok((index, outcome)) => Response::Dialled(index, outcome.await),
                Err(response) => response,
            };
            let _ = reach::respond(&mut stream, response).await;
            drop((slot, room));
            Done::Answered
        });
    }

    /// Has nodes that use this relay dial it at one of its own addresses.
    pub(crate) fn check_own(&mut self, address: TransportAddress, nonce: u64, answer: oneshot::Sender<CheckAnswer>) {
        let Some(ip) = address.ip() else { return };
        let wanted = DialBackWanted { peer: self.local(), address, nonce };
        let outcome = self.have_dialled(wanted, IpPrefix::network(ip));
        self.tasks.spawn(async move {
            let _ = answer.send(match outcome.await {
                DialBackOutcome::Reached => CheckAnswer::Reached,
                DialBackOutcome::NotReached => CheckAnswer::NotReached,
                DialBackOutcome::NoStream | DialBackOutcome::Refused => CheckAnswer::Nothing,
            });
            Done::Answered
        });
    }

    /// Asks nodes of other networks to dial, and gives what they found together. Those that
    /// hold a reservation are asked: whoever says hello alone is told of nobody's address.
    fn have_dialled(&mut self, wanted: DialBackWanted, network: IpPrefix) -> impl Future<Output = DialBackOutcome> + use<> {
        let (peer, now) = (convert::peer_id(&wanted.peer), self.clock.now());
        let has_reservation = |peer: &_| self.table.has_reservation(peer, now);
        let helpers = self.members.helpers((&peer, network), HELPERS, has_reservation, &mut random::<f64>);
        let opened: Vec<_> =
            helpers.into_iter().map(|(peer, connection)| self.open_stream(peer, connection, reach::HELP)).collect();
        async move {
            let answers = opened.into_iter().map(|stream| async {
                let mut stream = stream.await.ok()?;
                reach::have_dialled(&mut stream, &wanted).await.ok()
            });
            together(join_all(answers).await.into_iter().flatten())
        }
    }
}

/// One that got through is enough; that nobody can takes all of those who tried.
fn together(outcomes: impl Iterator<Item = DialBackOutcome>) -> DialBackOutcome {
    let tried: Vec<_> = outcomes.filter(|outcome| *outcome != DialBackOutcome::Refused).collect();
    let has = |wanted| tried.contains(&wanted);
    if has(DialBackOutcome::Reached) {
        DialBackOutcome::Reached
    } else if has(DialBackOutcome::NoStream) {
        DialBackOutcome::NoStream
    } else if has(DialBackOutcome::NotReached) {
        DialBackOutcome::NotReached
    } else {
        DialBackOutcome::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_got_through_is_enough_and_refusals_say_nothing() {
        use DialBackOutcome::{NoStream, NotReached, Reached, Refused};
        for (outcomes, expected) in [
            (vec![], Refused),
            (vec![Refused, Refused], Refused),
            (vec![Refused, NotReached], NotReached),
            (vec![NotReached, Reached], Reached),
            (vec![NotReached, NoStream], NoStream),
        ] {
            assert_eq!(together(outcomes.clone().into_iter()), expected, "{outcomes:?}");
        }
    }
}
