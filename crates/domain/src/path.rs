//! How a connection travels, and why it travels so.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{PeerIdentity, Transport};

/// Why traffic is still on a relay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayReason {
    /// A punch is planned or under way.
    PunchPending,
    /// The policy or the configuration asks for the relay.
    Policy,
    /// We know no public candidate of our own: no observation by a relay yet.
    NoOwnCandidate,
    /// The peer offered no candidate that we may dial.
    NoPeerCandidate,
    /// One side has addresses of IPv4 alone and the other of IPv6 alone.
    NoCommonFamily,
    /// The peer does not speak DCUtR.
    PeerCannotPunch,
    /// The node's own budget for punches is used up; the next one waits its turn.
    PunchLimited,
    /// The relay will end the circuit soon, because it shuts down: it is time to be
    /// on another path.
    RelayDraining,
    /// The exchange of candidates over the relay broke, so nobody dialled. It says
    /// nothing about the NATs.
    ExchangeFailed {
        /// How many attempts failed so far, for whatever reason.
        attempts: u32,
        /// What broke.
        cause: String,
    },
    /// Both sides dialled and nothing came through. Nothing more is known.
    PunchFailed {
        /// How many attempts failed so far.
        attempts: u32,
    },
    /// Nothing came through, and at least one NAT maps each destination to another
    /// port (RFC 4787: address-dependent or address-and-port-dependent mapping).
    SymmetricNat {
        /// How many attempts failed so far.
        attempts: u32,
        /// Several relays see this node at one IP address with different ports.
        ours: bool,
        /// The peer offered one IP address with different ports.
        theirs: bool,
    },
    /// Nothing came through, and both nodes come from one public address: they are
    /// behind the same NAT, a home router's or a carrier's.
    SharedNat {
        /// How many attempts failed so far.
        attempts: u32,
    },
    /// The peer offered an address on a link of this node's own. It did not answer, or was
    /// not dialled, which takes a relay's word that both come from one public address.
    SharedLan {
        /// How many attempts failed so far.
        attempts: u32,
    },
}

impl RelayReason {
    /// Whether a punch was tried and both sides' networks stood in its way, so that
    /// the next one is likely to fail too. A punch that is pending, that nobody
    /// asked for or whose exchange broke tells nothing of that kind.
    pub fn is_failed_punch(&self) -> bool {
        match self {
            RelayReason::NoPeerCandidate
            | RelayReason::NoCommonFamily
            | RelayReason::PeerCannotPunch
            | RelayReason::PunchFailed { .. }
            | RelayReason::SymmetricNat { .. }
            | RelayReason::SharedNat { .. }
            | RelayReason::SharedLan { .. } => true,
            RelayReason::PunchPending
            | RelayReason::Policy
            | RelayReason::NoOwnCandidate
            | RelayReason::PunchLimited
            | RelayReason::RelayDraining
            | RelayReason::ExchangeFailed { .. } => false,
        }
    }
}

impl fmt::Display for RelayReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = |attempts: &u32| if *attempts == 1 { "1 punch failed".into() } else { format!("{attempts} punches failed") };
        match self {
            RelayReason::PunchPending => f.write_str("a punch is under way"),
            RelayReason::Policy => f.write_str("the policy asks for the relay"),
            RelayReason::NoOwnCandidate => f.write_str("no relay has reported our public address yet"),
            RelayReason::NoPeerCandidate => f.write_str("the peer offered no address that we may dial"),
            RelayReason::NoCommonFamily => {
                f.write_str("one side has IPv4 alone and the other IPv6 alone: only a relay with both joins them")
            }
            RelayReason::PeerCannotPunch => f.write_str("the peer does not speak DCUtR"),
            RelayReason::PunchLimited => {
                f.write_str("too many punches are under way or were tried lately; this one waits its turn")
            }
            RelayReason::RelayDraining => f.write_str("the relay is about to shut down"),
            RelayReason::ExchangeFailed { attempts, cause } => {
                write!(f, "{}: the exchange of addresses over the relay broke ({cause})", failed(attempts))
            }
            RelayReason::PunchFailed { attempts } => write!(
                f,
                "{}: no dial came through; probably one of both NATs changes ports or filters by port",
                failed(attempts)
            ),
            RelayReason::SymmetricNat { attempts, ours, theirs } => {
                let evidence = match (ours, theirs) {
                    (true, true) => "relays see each side at one address with different ports: both NATs map",
                    (true, false) => "relays see us at one address with different ports: our NAT maps",
                    _ => "the peer offers one address with different ports: its NAT probably maps",
                };
                write!(f, "{}: {evidence} each destination to another port (symmetric NAT)", failed(attempts))
            }
            RelayReason::SharedNat { attempts } => write!(
                f,
                "{}: the peer has the same public address as we, so both are behind one NAT, which leads nothing back inside \
                 (no hairpinning); if both are on one LAN, connect by the local address",
                failed(attempts)
            ),
            RelayReason::SharedLan { attempts } => write!(
                f,
                "{}: the peer is on our own LAN and could not be reached there: a firewall of either side, a Wi-Fi that separates \
                 its clients, --no-lan, or a relay that does not say that both come from one address",
                failed(attempts)
            ),
        }
    }
}

/// How a connection travels now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Straight to the peer.
    Direct {
        /// Over what.
        transport: Transport,
    },
    /// Through a relay's circuit.
    Relayed {
        /// Through whom.
        relay: PeerIdentity,
        /// Why still.
        reason: RelayReason,
    },
}

impl Path {
    /// Whether a relay carries the bytes.
    pub fn is_relayed(&self) -> bool {
        matches!(self, Path::Relayed { .. })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Direct { transport } => write!(f, "direct over {transport}"),
            Path::Relayed { relay, reason } => write!(f, "relayed through {} ({reason})", relay.short()),
        }
    }
}

/// A view of a connection's path over its life. Cheap to clone; each clone
/// remembers separately what it has seen.
#[derive(Clone, Debug)]
pub struct PathWatch(watch::Receiver<Path>);

impl PathWatch {
    /// A watch and the sender that moves it.
    pub fn channel(path: Path) -> (watch::Sender<Path>, PathWatch) {
        let (sender, receiver) = watch::channel(path);
        (sender, PathWatch(receiver))
    }

    /// A path that never changes.
    pub fn fixed(path: Path) -> PathWatch {
        Self::channel(path).1
    }

    /// The path now.
    pub fn current(&self) -> Path {
        self.0.borrow().clone()
    }

    /// Waits for a path not seen yet; `None` once no change can come.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<Path> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_their_names() {
        let name = |reason: &RelayReason| serde_json::to_string(reason).unwrap();
        let cause = "the peer did not answer".to_owned();
        for (reason, expected) in [
            (RelayReason::PunchPending, r#""punch-pending""#),
            (RelayReason::Policy, r#""policy""#),
            (RelayReason::NoOwnCandidate, r#""no-own-candidate""#),
            (RelayReason::NoPeerCandidate, r#""no-peer-candidate""#),
            (RelayReason::NoCommonFamily, r#""no-common-family""#),
            (RelayReason::PeerCannotPunch, r#""peer-cannot-punch""#),
            (RelayReason::PunchLimited, r#""punch-limited""#),
            (RelayReason::RelayDraining, r#""relay-draining""#),
            (RelayReason::PunchFailed { attempts: 2 }, r#"{"punch-failed":{"attempts":2}}"#),
            (
                RelayReason::ExchangeFailed { attempts: 2, cause },
                r#"{"exchange-failed":{"attempts":2,"cause":"the peer did not answer"}}"#,
            ),
            (
                RelayReason::SymmetricNat { attempts: 2, ours: true, theirs: false },
                r#"{"symmetric-nat":{"attempts":2,"ours":true,"theirs":false}}"#,
            ),
            (RelayReason::SharedNat { attempts: 2 }, r#"{"shared-nat":{"attempts":2}}"#),
            (RelayReason::SharedLan { attempts: 2 }, r#"{"shared-lan":{"attempts":2}}"#),
        ] {
            assert_eq!(name(&reason), expected);
            assert_eq!(serde_json::from_str::<RelayReason>(expected).unwrap(), reason);
        }
    }

    #[test]
    fn only_relays_that_disagree_are_called_a_symmetric_nat() {
        let cause = "the stream was reset".to_owned();
        for reason in [
            RelayReason::ExchangeFailed { attempts: 1, cause },
            RelayReason::PunchFailed { attempts: 1 },
            RelayReason::SharedNat { attempts: 1 },
            RelayReason::SharedLan { attempts: 1 },
            RelayReason::PunchLimited,
        ] {
            assert!(!reason.to_string().contains("symmetric"), "{reason}");
        }
        let ours = RelayReason::SymmetricNat { attempts: 3, ours: true, theirs: false }.to_string();
        assert!(ours.starts_with("3 punches failed: relays see us at one address with different ports"), "{ours}");
    }

    #[tokio::test]
    async fn a_watch_sees_each_move_and_then_the_end() {
        let (sender, mut watch) = PathWatch::channel(Path::Direct { transport: Transport::Tcp });
        sender.send(Path::Direct { transport: Transport::Quic }).unwrap();
        assert_eq!(watch.changed().await, Some(Path::Direct { transport: Transport::Quic }));
        drop(sender);
        assert_eq!(watch.changed().await, None);
        assert_eq!(watch.current(), Path::Direct { transport: Transport::Quic });
    }
}
