//! Dial errors in the domain's terms: libp2p hides the useful part deep.

use kaspath_domain::DialError;
use libp2p::{multiaddr::Protocol, swarm};

use crate::convert;

/// The domain's error for a dial that failed.
pub(super) fn dial_error(error: &swarm::DialError) -> DialError {
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
