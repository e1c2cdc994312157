use std::time::Duration;

use kaspath_domain::NatMapping;
use rand::Rng;

/// A NAT's kind, by how it maps and filters (RFC 4787).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping, address- and port-dependent filtering.
    PortRestricted,
    /// Address- and port-dependent mapping and filtering.
    Symmetric,
}

impl Nat {
    /// Whether a punch between two such NATs can work without guessing ports.
    pub fn can_punch(self, other: Self) -> bool {
        let insists = |nat| matches!(nat, Self::PortRestricted | Self::Symmetric);
        !(self == Self::Symmetric && insists(other) || other == Self::Symmetric && insists(self))
    }

    /// How it maps, as two relays tell its owner.
    pub fn mapping(self) -> NatMapping {
        if self == Self::Symmetric { NatMapping::EndpointDependent } else { NatMapping::EndpointIndependent }
    }
}

/// How common each kind is; they need not add up to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Full-cone.
    pub full_cone: f64,
    /// Address-restricted.
    pub address_restricted: f64,
    /// Port-restricted.
    pub port_restricted: f64,
    /// Symmetric.
    pub symmetric: f64,
}

impl Default for Shares {
    /// Such that 71 % of all pairs can be punched: Trautwein et al. 2025
    /// (arXiv:2510.27500) measured 70 % +- 7.1 % over 4.4 million attempts from
    /// 85,000 networks, the same over TCP and QUIC. Single shares differ widely
    /// between studies (Halkes and Pouwelse 2011 found 64 % of peers behind NATs that
    /// allow punches); these are ours, fitted to that one figure.
    fn default() -> Self {
        Self { full_cone: 0.10, address_restricted: 0.13, port_restricted: 0.55, symmetric: 0.22 }
    }
}

impl Shares {
    fn all(self) -> [(Nat, f64); 4] {
        [
            (Nat::FullCone, self.full_cone),
            (Nat::AddressRestricted, self.address_restricted),
            (Nat::PortRestricted, self.port_restricted),
            (Nat::Symmetric, self.symmetric),
        ]
    }

    fn pick(self, random: &mut impl Rng) -> Nat {
        let total: f64 = self.all().iter().map(|(_, share)| share.max(0.0)).sum();
        let mut left = random.gen_range(0.0..1.0) * total;
        for (nat, share) in self.all() {
            left -= share.max(0.0);
            if left < 0.0 {
                return nat;
            }
        }
        Nat::PortRestricted
    }

    /// The share of pairs that can be punched.
    pub fn punchable(self) -> f64 {
        let total: f64 = self.all().iter().map(|(_, share)| share).sum();
        let pairs = self.all().into_iter().flat_map(|left| self.all().into_iter().map(move |right| (left, right)));
        pairs.filter(|((left, _), (right, _))| left.can_punch(*right)).map(|((_, a), (_, b))| a * b).sum::<f64>()
            / (total * total)
    }
}

/// Everything that is made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// NAT kinds.
    pub shares: Shares,
    /// Networks that let no UDP through.
    pub udp_blocked: f64,
    /// Networks whose NAT answers a stranger's SYN with an RST, which ends a TCP punch.
    pub tcp_hostile: f64,
    /// Of punches that can work, those that work at the first attempt: 97.6 % in
    /// Trautwein et al. 2025.
    pub first_attempt: f64,
    /// A relay that cannot be reached just then.
    pub relay_down: f64,
    /// A relay that gives no circuit, being full.
    pub relay_full: f64,
    /// Median round trip between two peers over a relay; it is spread by a factor of
    /// two each way (log-normal, sigma 0.7).
    pub round_trip: Duration,
    /// Relays.
    pub relays: u16,
    /// Peers that speak no sessions, and are known not to.
    pub plain: f64,
}

impl Default for Population {
    fn default() -> Self {
        Self {
            shares: Shares::default(),
            udp_blocked: 0.03,
            tcp_hostile: 0.03,
            first_attempt: 0.976,
            relay_down: 0.02,
            relay_full: 0.01,
            round_trip: Duration::from_millis(120),
            relays: 50,
            plain: 0.0,
        }
    }
}

/// One peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) nat: Nat,
    pub(crate) udp: bool,
    pub(crate) tcp: bool,
}

impl Population {
    pub(crate) fn host(&self, random: &mut impl Rng) -> Host {
        Host {
            nat: self.shares.pick(random),
            udp: random.gen_range(0.0..1.0) >= self.udp_blocked,
            tcp: random.gen_range(0.0..1.0) >= self.tcp_hostile,
        }
    }

    /// A round trip, log-normal about the median.
    pub(crate) fn round_trip(&self, random: &mut impl Rng) -> Duration {
        // Box and Muller's transform.
        let (u, v): (f64, f64) = (random.gen_range(f64::EPSILON..1.0), random.gen_range(0.0..1.0));
        let normal = (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos();
        self.round_trip.mul_f64((0.7 * normal).exp().clamp(0.05, 20.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_those_of_the_measurement() {
        let punchable = Shares::default().punchable();
        assert!((punchable - 0.70).abs() < 0.071, "{punchable}");
    }
}
