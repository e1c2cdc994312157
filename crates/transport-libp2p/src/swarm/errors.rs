//! The telling part of dial errors.

use libp2p::{multiaddr::Protocol, swarm::DialError};

use crate::{convert, core::DialFailure};

pub(super) fn failure(error: &DialError) -> DialFailure {
    let at = match error {
        DialError::WrongPeerId { obtained, address } => {
            // The expected peer is the dial's, which the address repeats.
            let expected = address.iter().filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None });
            if let Some(expected) = expected.last().and_then(|expected| convert::named(&expected)) {
                return DialFailure::WrongPeer { expected, found: convert::identity(obtained) };
            }
            address.to_string()
        }
        DialError::Transport(errors) => errors.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" and "),
        _ => "the peer".to_owned(),
    };
    DialFailure::Failed { at, cause: describe(error) }
}

fn describe(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let mut causes: Vec<String> = errors.iter().map(|(_, error)| convert::error_chain(error)).collect();
            causes.dedup();
            causes.join("; ")
        }
        DialError::LocalPeerId { .. } => "this is our own peer id".to_owned(),
        DialError::Denied { cause } => format!("a connection limit of this node: {}", convert::error_chain(cause)),
        DialError::WrongPeerId { obtained, .. } => format!("peer {obtained} answered"),
        other => convert::error_chain(other),
    }
}
