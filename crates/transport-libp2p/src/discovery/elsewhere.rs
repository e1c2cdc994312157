//! Which records of strangers are taken: none may have this node dial its own network.

use std::net::IpAddr;

use kaspath_domain::{NodeRecord, TransportAddress};

use crate::core::{FIRST_PORT, is_elsewhere};

/// Whether all that the record would have us dial are public addresses on no link of ours, whose
/// addresses are `own`, at ports from 1024 on: the relays, and the candidates where they are
/// dialled without an exchange before. Whoever has itself told of could else have us knock at
/// every host of our network, which lets its neighbours in.
pub(super) fn leads_elsewhere(record: &NodeRecord, own: &[IpAddr]) -> bool {
    let may_dial =
        |address: &TransportAddress| address.port >= FIRST_PORT && address.ip().is_some_and(|ip| is_elsewhere(ip, own));
    let candidates = record.candidates.iter().filter(|_| record.reachable || record.kind.is_relay());
    candidates.chain(record.relays.iter().map(|relay| &relay.via)).all(may_dial)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{NatMapping, PeerIdentity, RecordKind, RelayAddress, Timestamp};

    use super::*;

    fn record(kind: RecordKind, reachable: bool, candidates: &[&str], relays: &[&str]) -> NodeRecord {
        let at = |text: &&str| TransportAddress::tcp(text.parse().unwrap());
        let peer = PeerIdentity::from_bytes(&[0, 2, 1, 1]).unwrap();
        NodeRecord {
            peer: peer.clone(),
            kind,
            network: "simnet".to_owned(),
            gossip: true,
            mapping: NatMapping::Unknown,
            reachable,
            issued: Timestamp::default(),
            ttl: Duration::from_secs(600),
            relays: relays.iter().map(|via| RelayAddress { relay: peer.clone(), via: at(via) }).collect(),
            candidates: candidates.iter().map(at).collect(),
            load: None,
            tag: None,
        }
    }

    #[test]
    fn no_record_has_us_dial_a_host_of_our_own_network_or_a_service_of_the_system() {
        let own = ["2001:db8:1::2".parse().unwrap(), "198.51.100.9".parse().unwrap()];
        let near = ["[2001:db8:1::5]:4001", "198.51.100.9:4001", "192.168.1.5:4001", "203.0.113.1:22", "203.0.113.1:0"];
        for near in near {
            let far = "203.0.113.1:4001";
            for bad in [
                record(RecordKind::Node, true, &[far, near], &[far]),
                record(RecordKind::Relay, false, &[near], &[]),
                record(RecordKind::Node, false, &[], &[far, near]),
            ] {
                assert!(!leads_elsewhere(&bad, &own), "{bad:?}");
            }
            // Punched with an exchange before, which has a filter of its own.
            assert!(leads_elsewhere(&record(RecordKind::Node, false, &[near], &[far]), &own));
        }
        let good = ["[2001:db8:2::5]:4001", "203.0.113.1:1024"];
        assert!(leads_elsewhere(&record(RecordKind::Both, true, &good, &good), &own));
    }
}
