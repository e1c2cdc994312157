use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

use crate::{AttemptOutcome, DuplexStream, PeerIdentity, PeerLocator, PolicyError};

/// A peer and where it may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTarget {
    /// Who, if known.
    pub peer: Option<PeerIdentity>,
    /// Where, best known first.
    pub addresses: Vec<PeerLocator>,
}

impl PeerTarget {
    /// The target of one address.
    pub fn at(address: PeerLocator) -> Self {
        Self { peer: address.peer.clone(), addresses: vec![address] }
    }

    /// Groups addresses: those of one peer are one target, each without a peer's id is
    /// its own.
    pub fn group(addresses: &[PeerLocator]) -> Vec<Self> {
        let mut targets: Vec<Self> = Vec::new();
        for address in addresses {
            let known = targets.iter_mut().find(|target| address.peer.is_some() && target.peer == address.peer);
            match known {
                Some(target) => target.addresses.push(address.clone()),
                None => targets.push(Self::at(address.clone())),
            }
        }
        targets
    }
}

impl fmt::Display for PeerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => write!(f, "peer {}", peer.short()),
            None => f.write_str(&self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Why a connector gives no stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectorError {
    /// The policy makes no plan.
    #[error(transparent)]
    NoPlan(#[from] PolicyError),
    /// Every attempt failed.
    #[error("no way to the peer works: {}", summarize(.0))]
    AllFailed(Vec<AttemptOutcome>),
    /// The peer is banned.
    #[error("the peer is banned")]
    Banned,
    /// The peer, or every relay that leads to it, has failed too lately.
    #[error("the peer is not dialled again for {0:?}, after failures")]
    BackOff(Duration),
    /// This node has dialled too many peers lately.
    #[error("this node dials too many peers at once; it dials the next one in {0:?}")]
    RateLimited(Duration),
    /// There are as many sessions with the peer as there may be.
    #[error("there are {limit} sessions with the peer already, and no more are begun: wait until one of them has ended")]
    SessionsOfPeer {
        /// How many there may be.
        limit: usize,
    },
    /// There are as many sessions as there may be.
    #[error("this node has {limit} sessions and begins no more: wait until one of them has ended, or end one")]
    SessionsInAll {
        /// How many there may be.
        limit: usize,
    },
}

fn summarize(outcomes: &[AttemptOutcome]) -> String {
    let failures = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err().map(|error| (&outcome.route, error)));
    let lines: Vec<_> = failures.map(|(route, error)| format!("{route}: {error}")).collect();
    if lines.is_empty() { "the plan was empty".to_owned() } else { lines.join("; ") }
}

/// Opens streams to peers by whatever way works.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait PeerConnector: Send + Sync {
    /// A stream to the peer. Its path says whether it is direct.
    ///
    /// Dropping the future cancels what is under way.
    ///
    /// # Errors
    /// Why there is none.
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError>;
}

#[async_trait]
impl<T: PeerConnector + ?Sized> PeerConnector for Arc<T> {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.as_ref().connect(target).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_peer_are_one_target_and_unnamed_ones_stand_alone() {
        let id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let relay = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let addresses = [
            format!("/ip4/192.0.2.1/tcp/1/p2p/{id}"),
            "192.0.2.2:1".to_owned(),
            format!("/ip4/192.0.2.9/tcp/1/p2p/{relay}/p2p-circuit/p2p/{id}"),
            "192.0.2.3:1".to_owned(),
        ];
        let addresses: Vec<PeerLocator> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let targets = PeerTarget::group(&addresses);
        assert_eq!(targets.iter().map(|target| target.addresses.len()).collect::<Vec<_>>(), [2, 1, 1]);
        assert!(targets[0].to_string().starts_with("peer "), "{}", targets[0]);
    }
}
