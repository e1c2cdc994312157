//! Dial errors in the domain's terms: libp2p hides the useful part deep.

use kaspath_domain::DialError;
use libp2p::{multiaddr::Protocol, swarm};

use crate::{convert, limits::Refusal};

/// The domain's error for a dial that failed.
pub(super) fn dial_error(error: &swarm::DialError) -> DialError {
    if let swarm::DialError::Denied { cause } = error
        && let Some(ours) = cause.downcast_ref().and_then(Refusal::of_dial)
    {
        return ours;
    }
    let address = match error {
        swarm::DialError::WrongPeerId { obtained, address } => {
            // The expected peer is the dial's, which the address repeats.
            let expected = address.iter().filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None });
            if let Some(expected) = expected.last().and_then(|expected| convert::named(&expected)) {
                return DialError::WrongPeer { expected, found: convert::identity(obtained) };
            }
            address.to_string()
        }
        swarm::DialError::Transport(errors) => {
            errors.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" and ")
        }
        _ => "the peer".to_owned(),
    };
    DialError::Unreachable { address, cause: describe(error) }
}

fn describe(error: &swarm::DialError) -> String {
    match error {
        swarm::DialError::Transport(errors) => {
            let mut causes: Vec<String> = errors.iter().map(|(_, error)| convert::error_chain(error)).collect();
            causes.dedup();
            causes.join("; ")
        }
        swarm::DialError::LocalPeerId { .. } => "this is our own peer id".to_owned(),
        swarm::DialError::Denied { cause } => format!("a connection limit of this node: {}", convert::error_chain(cause)),
        swarm::DialError::WrongPeerId { obtained, .. } => format!("peer {obtained} answered"),
        other => convert::error_chain(other),
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::Transport;
    use libp2p::{PeerId, swarm::ConnectionDenied};

    use super::*;
    use crate::limits::{Class, Room};

    #[test]
    fn our_own_limits_are_not_taken_for_a_peer_that_does_not_answer() {
        let of = |refusal: Refusal| dial_error(&swarm::DialError::Denied { cause: ConnectionDenied::new(refusal) }).to_string();
        let full = |room| of(Refusal::Full { room, limit: 7 });
        assert_eq!(full(Room::Dialled(Class::Circuit)), "this node's limit of 7 outbound circuits is reached");
        assert_eq!(full(Room::Dialling(Class::Peer)), "this node's limit of 7 unfinished connections to peers is reached");
        assert_eq!(full(Room::WithPeer(PeerId::random())), "this node's limit of 7 connections with one peer is reached");
        assert_eq!(of(Refusal::Pressure), "this node's memory is short: nothing new is dialled");
        // Nothing that is dialled comes under these.
        assert!(full(Room::Pending(Transport::Tcp)).contains("a connection limit of this node"));
    }
}
