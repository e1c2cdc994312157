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
    /// The peer does not speak DCUtR.
    PeerCannotPunch,
    /// That many punches failed; as a rule at least one NAT is symmetric
    /// (address-dependent mapping, RFC 4787) and the other filters by port.
    PunchFailed {
        /// How many attempts failed so far.
        attempts: u32,
    },
}

impl fmt::Display for RelayReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelayReason::PunchPending => f.write_str("a punch is under way"),
            RelayReason::Policy => f.write_str("the policy asks for the relay"),
            RelayReason::NoOwnCandidate => f.write_str("no relay has told us our public address yet"),
            RelayReason::NoPeerCandidate => f.write_str("the peer offered no address that we may dial"),
            RelayReason::PeerCannotPunch => f.write_str("the peer does not speak DCUtR"),
            RelayReason::PunchFailed { attempts } => {
                let punches = if *attempts == 1 { "1 punch".to_owned() } else { format!("{attempts} punches") };
                write!(
                    f,
                    "{punches} failed: most likely one NAT maps each destination to another port (symmetric) and the other filters by port"
                )
            }
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
