//! Why a punch came to nothing, from what both sides' candidates show.

use std::net::IpAddr;

use kaspath_domain::{RelayReason, TransportAddress, is_public, same_link};

/// What the candidates of one exchange show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The peer offered an address on a link of ours.
    same_link: bool,
    /// Relays see the peer and us at one public address.
    same_address: bool,
    /// Relays see us at one address with different ports.
    our_ports_vary: bool,
    /// The peer offered one address with different ports.
    their_ports_vary: bool,
}

impl Evidence {
    /// `ours` are the candidates that relays observed, `offered` all that the peer
    /// offered, `own` the addresses of our interfaces.
    pub(super) fn new(ours: &[TransportAddress], offered: &[TransportAddress], own: &[IpAddr]) -> Self {
        let ips = |addresses: &[TransportAddress]| addresses.iter().filter_map(TransportAddress::ip).collect::<Vec<_>>();
        let (our_ips, their_ips) = (ips(ours), ips(offered));
        let same_address = their_ips.iter().any(|ip| is_public(*ip) && our_ips.contains(ip));
        let neighbours = |theirs: &IpAddr, ours: &IpAddr| match (theirs, ours) {
            // Private ranges look alike everywhere; behind one public address they are the same one.
            (IpAddr::V4(theirs), IpAddr::V4(ours)) => {
                same_address && theirs.is_private() && theirs.octets()[..3] == ours.octets()[..3]
            }
            (theirs, ours) => is_public(*theirs) && same_link(*theirs, *ours),
        };
        Self {
            same_link: their_ips.iter().any(|theirs| own.iter().any(|ours| neighbours(theirs, ours))),
            same_address,
            our_ports_vary: ports_vary(ours),
            their_ports_vary: ports_vary(offered),
        }
    }

    /// What to say after `attempts` whose dials gave no connection.
    fn reason(self, attempts: u32) -> RelayReason {
        let Self { same_link, same_address, our_ports_vary: ours, their_ports_vary: theirs } = self;
        match () {
            () if same_link => RelayReason::SharedLan { attempts },
            () if same_address => RelayReason::SharedNat { attempts },
            () if ours || theirs => RelayReason::SymmetricNat { attempts, ours, theirs },
            () => RelayReason::PunchFailed { attempts },
        }
    }
}

/// What is known of one attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// What the exchange showed, once it is finished.
    evidence: Option<Evidence>,
    /// Dials that were begun.
    dials: usize,
    /// The budget forbade some.
    limited: bool,
}

impl Attempt {
    /// Candidates are exchanged, and both sides dial now.
    pub(super) fn exchanged(evidence: Evidence) -> Self {
        Self { evidence: Some(evidence), ..Self::default() }
    }

    /// A dial was begun, or not for want of budget; `whole` if to all addresses.
    pub(super) fn dial(&mut self, begun: bool, whole: bool) {
        self.dials += usize::from(begun);
        self.limited |= !whole;
    }

    /// Whether nothing could be dialled because the peer is on our own link.
    pub(super) fn is_same_link(self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.same_link)
    }

    /// What to say when its time is over, and it is failure number `attempts`.
    pub(super) fn reason(self, attempts: u32) -> RelayReason {
        match self.evidence {
            None => RelayReason::ExchangeFailed { attempts, cause: "the peer did not answer in time".to_owned() },
            Some(_) if self.limited && self.dials == 0 => RelayReason::PunchLimited,
            Some(evidence) => evidence.reason(attempts),
        }
    }
}

/// Whether one IP address occurs with different ports over one transport.
fn ports_vary(addresses: &[TransportAddress]) -> bool {
    let vary = |one: &TransportAddress, other: &TransportAddress| {
        (one.transport, &one.host) == (other.transport, &other.host) && one.port != other.port
    };
    addresses.iter().enumerate().any(|(n, one)| addresses[n + 1..].iter().any(|other| vary(one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::address;

    fn addresses(texts: &[&str]) -> Vec<TransportAddress> {
        texts.iter().map(|text| address(text)).collect()
    }

    fn reason(ours: &[&str], offered: &[&str], own: &[&str]) -> RelayReason {
        let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        Evidence::new(&addresses(ours), &addresses(offered), &own).reason(2)
    }

    const OURS: &[&str] = &["/ip4/198.51.100.1/tcp/1000", "/ip4/198.51.100.1/udp/2000/quic-v1"];
    const THEIRS: &[&str] = &["/ip4/203.0.113.1/tcp/1000", "/ip4/203.0.113.1/udp/2000/quic-v1"];

    #[test]
    fn without_evidence_nothing_is_claimed() {
        assert_eq!(reason(OURS, THEIRS, &["10.0.0.2"]), RelayReason::PunchFailed { attempts: 2 });
        assert_eq!(reason(&[], &[], &[]), RelayReason::PunchFailed { attempts: 2 });
        // A private address alone says nothing: there are many 192.168.1.0/24.
        let private = ["/ip4/203.0.113.1/tcp/1000", "/ip4/192.168.1.7/tcp/1000"];
        assert_eq!(reason(OURS, &private, &["192.168.1.2"]), RelayReason::PunchFailed { attempts: 2 });
    }

    #[test]
    fn relays_that_see_different_ports_show_a_symmetric_nat_and_whose() {
        let (ours, theirs) =
            (["/ip4/198.51.100.1/tcp/1", "/ip4/198.51.100.1/tcp/2"], ["/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.1/tcp/2"]);
        let symmetric = |ours, theirs| RelayReason::SymmetricNat { attempts: 2, ours, theirs };
        assert_eq!(reason(&ours, THEIRS, &[]), symmetric(true, false));
        assert_eq!(reason(OURS, &theirs, &[]), symmetric(false, true));
        assert_eq!(reason(&ours, &theirs, &[]), symmetric(true, true));
        // Two addresses are two lines, not one NAT that changes ports.
        assert_eq!(
            reason(&["/ip4/198.51.100.1/tcp/1", "/ip6/2001:db8::1/tcp/2"], THEIRS, &[]),
            RelayReason::PunchFailed { attempts: 2 }
        );
    }

    #[test]
    fn one_public_address_for_both_is_a_shared_nat() {
        let theirs = ["/ip4/198.51.100.1/tcp/4000"];
        assert_eq!(reason(OURS, &theirs, &["10.0.0.2"]), RelayReason::SharedNat { attempts: 2 });
        let carrier = ["/ip4/198.51.100.1/tcp/4000", "/ip4/198.51.100.1/tcp/5000"];
        assert_eq!(reason(OURS, &carrier, &["100.64.0.2"]), RelayReason::SharedNat { attempts: 2 }, "not a symmetric one");
    }

    #[test]
    fn a_neighbours_address_is_a_shared_lan() {
        let theirs = ["/ip4/198.51.100.1/tcp/4000", "/ip4/192.168.1.7/tcp/4000"];
        assert_eq!(reason(OURS, &theirs, &["192.168.1.2"]), RelayReason::SharedLan { attempts: 2 });
        let theirs = ["/ip6/2001:db8:1:2::7/tcp/4000"];
        assert_eq!(reason(OURS, &theirs, &["2001:db8:1:2::2", "127.0.0.1", "::1"]), RelayReason::SharedLan { attempts: 2 });
    }

    #[test]
    fn an_attempt_without_exchange_or_dial_says_nothing_of_nats() {
        assert!(matches!(Attempt::default().reason(3), RelayReason::ExchangeFailed { attempts: 3, .. }));
        let symmetric = Evidence { our_ports_vary: true, ..Evidence::default() };
        let mut attempt = Attempt::exchanged(symmetric);
        attempt.dial(false, false);
        assert_eq!(attempt.reason(1), RelayReason::PunchLimited);
        attempt.dial(true, false);
        assert_eq!(attempt.reason(1), symmetric.reason(1));
    }
}
