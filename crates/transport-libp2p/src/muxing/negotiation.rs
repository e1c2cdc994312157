//! Reads along as our side answers a proposal (multistream-select 1.0).

/// What a listener sends first; the answers follow.
const HEADER: &[u8] = b"/multistream/1.0.0\n";
/// The longest name of a protocol, in bytes. A network with a longer one does not start.
pub(crate) const MAX_NAME: usize = 253;
/// Two bytes of length, the name and a line feed: the longest answer that agrees.
const MAX_FRAME: usize = 2 + MAX_NAME + 1;

/// What our side has written on an inbound stream so far.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// The frame that is being written: its length, then its bytes.
    frame: Vec<u8>,
    /// Bytes that are left of a frame too long to agree to anything.
    rest: usize,
}

impl Negotiation {
    /// Takes what was written; whether a protocol is agreed on. Only what we write
    /// ourselves counts, so the remote cannot pretend.
    pub(super) fn agreed(&mut self, written: &[u8]) -> bool {
        for byte in written {
            if self.rest > 0 {
                self.rest -= 1;
                continue;
            }
            self.frame.push(*byte);
            let Some((length, prefix)) = length(&self.frame) else { continue };
            if prefix + length > MAX_FRAME {
                self.rest = length;
            } else if self.frame.len() < prefix + length {
                continue;
            } else if is_name(&self.frame[prefix..]) {
                return true;
            }
            self.frame.clear();
        }
        false
    }
}

/// Whether an answer is the name of a protocol. "na" refuses and begins with no slash.
/// "ls" is answered by a list, whose first byte is a length, which may look like a
/// slash; a list has a line feed for each name and one more.
fn is_name(payload: &[u8]) -> bool {
    let feeds = payload.iter().filter(|byte| **byte == b'\n').count();
    payload.first() == Some(&b'/') && feeds == 1 && payload != HEADER
}

/// An unsigned varint of at most two bytes, and how many it took.
fn length(frame: &[u8]) -> Option<(usize, usize)> {
    match *frame {
        [first, ..] if first < 0x80 => Some((first.into(), 1)),
        [first, second, ..] => Some((usize::from(first & 0x7f) | usize::from(second & 0x7f) << 7, 2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use libp2p::{
        Multiaddr, PeerId,
        swarm::{ConnectionHandler, ConnectionId, NetworkBehaviour, handler::InboundUpgradeSend},
    };
    use tokio::sync::mpsc;

    use super::*;
    use crate::{NetworkConfig, NodeKey, RelayServerConfig, StartError, convert, swarm::build};

    fn frame(payload: &[u8]) -> Vec<u8> {
        let (low, high) = (payload.len() & 0x7f, payload.len() >> 7);
        let length = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
        length.into_iter().map(|byte| u8::try_from(byte).unwrap()).chain(payload.iter().copied()).collect()
    }

    fn answer(text: &str) -> Vec<u8> {
        frame(format!("{text}\n").as_bytes())
    }

    /// The answer to "ls".
    fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut payload: Vec<u8> = names.into_iter().flat_map(answer).collect();
        payload.push(b'\n');
        frame(&payload)
    }

    /// What a handler takes on inbound streams.
    fn protocols<H: ConnectionHandler>(handler: &H) -> Vec<String> {
        fn names(upgrade: &impl InboundUpgradeSend) -> Vec<String> {
            upgrade.protocol_info().map(|name| name.as_ref().to_owned()).collect()
        }
        names(handler.listen_protocol().upgrade())
    }

    /// Every protocol that a relay and node in one speaks on direct connections and on circuits.
    fn registered() -> BTreeSet<String> {
        let config = NetworkConfig { relay_server: Some(RelayServerConfig::default()), ..NetworkConfig::default() };
        let mut swarm = build(&NodeKey::generate(), &config, mpsc::channel(1).0, Default::default()).unwrap();
        let direct: Multiaddr = "/ip4/198.51.100.1/tcp/4001".parse().unwrap();
        let circuit = convert::circuit(direct.clone(), PeerId::random());
        let mut all = BTreeSet::new();
        for (id, local) in [direct, circuit].iter().enumerate() {
            let (id, peer) = (ConnectionId::new_unchecked(id), PeerId::random());
            let remote = "/ip4/203.0.113.1/tcp/1".parse().unwrap();
            let handler = swarm.behaviour_mut().handle_established_inbound_connection(id, peer, local, &remote).unwrap();
            all.extend(protocols(&handler));
        }
        all
    }

    #[test]
    fn a_protocol_is_agreed_on_when_we_echo_its_name() {
        let written = [answer("/multistream/1.0.0"), answer("na"), answer("/ipfs/ping/1.0.0")].concat();
        for chunk in 1..written.len() {
            let mut negotiation = Negotiation::default();
            let agreed: Vec<bool> = written.chunks(chunk).map(|part| negotiation.agreed(part)).collect();
            assert_eq!(agreed.iter().filter(|agreed| **agreed).count(), 1, "in chunks of {chunk}");
            assert_eq!(agreed.last(), Some(&true), "in chunks of {chunk}");
        }
    }

    #[test]
    fn refusals_are_no_agreement() {
        let mut negotiation = Negotiation::default();
        assert!(!negotiation.agreed(&answer("/multistream/1.0.0")));
        for _ in 0..100 {
            assert!(!negotiation.agreed(&answer("na")));
        }
        assert!(negotiation.frame.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_list_of_any_length_is_no_agreement_and_hides_none() {
        // Its length and that of the line feed are a slash.
        let like_a_slash = format!("/{}", "x".repeat(45));
        for count in 1..20 {
            let mut negotiation = Negotiation::default();
            let names = std::iter::repeat_n(like_a_slash.as_str(), count);
            assert!(!negotiation.agreed(&list(names)), "{count} names");
            assert!(negotiation.agreed(&answer(&like_a_slash)), "{count} names");
        }
    }

    #[tokio::test]
    async fn every_protocol_that_is_registered_fits() {
        let names = registered();
        for expected in [
            crate::STREAM_PROTOCOL,
            crate::LEGACY_STREAM_PROTOCOL,
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
            "/libp2p/circuit/relay/0.2.0/hop",
            "/libp2p/circuit/relay/0.2.0/stop",
            "/libp2p/dcutr",
        ] {
            assert!(names.contains(expected), "{expected} of {names:?}");
        }
        for name in &names {
            assert!(name.len() <= MAX_NAME && Negotiation::default().agreed(&answer(name)), "{name}");
        }
        let mut negotiation = Negotiation::default();
        assert!(!negotiation.agreed(&list(names.iter().map(String::as_str))));
    }

    #[tokio::test]
    async fn the_longest_name_is_agreed_on_and_a_longer_one_is_refused_at_the_start() {
        let named = |length: usize| format!("/{}", "x".repeat(length - 1));
        let start = |name: String| {
            let config = NetworkConfig { protocols: vec![name], ..NetworkConfig::default() };
            build(&NodeKey::generate(), &config, mpsc::channel(1).0, Default::default()).map(drop)
        };
        assert!(Negotiation::default().agreed(&answer(&named(MAX_NAME))));
        start(named(MAX_NAME)).unwrap();
        assert!(matches!(start(named(MAX_NAME + 1)), Err(StartError::Protocol(_))));
    }
}
