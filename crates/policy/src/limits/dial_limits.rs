use std::time::Duration;

use kaspath_domain::{
    AttemptOutcome, ConnectorError, DialError, Moment, PeerAddress, PeerIdentity, PeerLocator, PeerTarget, RetryCadence,
    TokenBucket,
};

use super::BackOffs;

/// How often peers are dialled at all.
#[derive(Clone, Debug)]
pub struct DialLimitsConfig {
    /// Peers dialled at once; at least one.
    pub burst: u32,
    /// Time for one more.
    pub every: Duration,
    /// A peer's back-off after dials that came to nothing.
    pub peer_back_off: RetryCadence,
    /// A relay's back-off after it could not be reached.
    pub relay_back_off: RetryCadence,
    /// Peers and relays remembered, each.
    pub remembered: usize,
}

impl Default for DialLimitsConfig {
    fn default() -> Self {
        let cadence = |seconds: &[u64], then| RetryCadence {
            delays: seconds.iter().copied().map(Duration::from_secs).collect(),
            then: Some(Duration::from_secs(then)),
            jitter: 0.0,
        };
        Self {
            burst: 32,
            every: Duration::from_millis(250),
            // Shorter than what callers wait by themselves: it only stops those that do not.
            peer_back_off: cadence(&[0, 1, 2, 5, 15], 30),
            relay_back_off: cadence(&[1, 2, 5], 10),
            remembered: 4096,
        }
    }
}

/// A global rate of dialled peers, and back-offs of peers and relays that failed.
/// Pure, for any strategy.
#[derive(Clone, Debug)]
pub struct DialLimits {
    rate: TokenBucket,
    peers: BackOffs<PeerIdentity>,
    relays: BackOffs<PeerIdentity>,
}

impl DialLimits {
    /// Nobody has been dialled yet.
    pub fn new(config: DialLimitsConfig) -> Self {
        Self {
            rate: TokenBucket::new(config.burst.max(1), config.every),
            peers: BackOffs::new(config.peer_back_off, config.remembered),
            relays: BackOffs::new(config.relay_back_off, config.remembered),
        }
    }

    /// Counts a dial of the peer, which begins now, and gives the addresses to dial it
    /// by: those through a relay that failed lately are left out while there are others.
    ///
    /// # Errors
    /// How long not to dial it, and why. Nothing is counted then.
    pub fn begin(&mut self, target: &PeerTarget, now: Moment) -> Result<PeerTarget, ConnectorError> {
        let left = target.peer.as_ref().map_or(Duration::ZERO, |peer| self.peers.left(peer, now));
        if !left.is_zero() {
            return Err(ConnectorError::BackOff(left));
        }
        let usable = target.addresses.iter().filter(|address| self.relay_left(address, now).is_zero());
        let narrowed = PeerTarget { peer: target.peer.clone(), addresses: usable.cloned().collect() };
        if narrowed.addresses.is_empty() && !target.addresses.is_empty() {
            return Err(ConnectorError::BackOff(self.relays_left(target, now)));
        }
        self.rate.take(now).map_err(ConnectorError::RateLimited)?;
        if let Some(peer) = &target.peer {
            // A failure until an outcome says otherwise: one that never comes is one too.
            self.peers.failed(peer, now);
        }
        Ok(narrowed)
    }

    /// How long the back-off of the first relay that leads to the peer lasts still.
    pub fn relays_left(&self, target: &PeerTarget, now: Moment) -> Duration {
        let backing_off = target.addresses.iter().map(|address| self.relay_left(address, now)).filter(|left| !left.is_zero());
        backing_off.min().unwrap_or_default()
    }

    fn relay_left(&self, address: &PeerLocator, now: Moment) -> Duration {
        match &address.address {
            PeerAddress::Relayed(relay) => self.relays.left(&relay.relay, now),
            PeerAddress::Direct(_) => Duration::ZERO,
        }
    }

    /// Takes note of how an attempt ended.
    pub fn observe(&mut self, outcome: &AttemptOutcome, now: Moment) {
        let relay = outcome.route.relay();
        match (&outcome.result, relay) {
            (Ok(_), _) => {
                if let Some(relay) = relay {
                    self.relays.worked(relay);
                }
                if let Some(peer) = &outcome.peer {
                    self.peers.worked(peer);
                }
            }
            // What a relay says of one peer is not a reason to dial it for no other.
            (Err(DialError::RelayUnreachable { .. }), Some(relay)) => self.relays.failed(relay, now),
            (Err(_), _) => {}
        }
    }

    /// Peers and relays that are remembered.
    pub fn remembered(&self) -> [usize; 2] {
        [self.peers.len(), self.relays.len()]
    }
}
