//! What changed from one poll of kaspad to the next: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use kaspath_domain::Moment;

use super::KaspadSnapshot;

/// Between two reports of how kaspad is doing, if nothing important changes.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);
/// Polls without an answer before a kaspad that was never there is reported.
const PATIENCE: u32 = 4;
/// Pairs remembered so as to be reported once.
const MAX_REPORTED: usize = 1024;

/// What a poll of kaspad found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It answers again.
    Up,
    /// It is on another network.
    OtherNetwork,
    /// An address is banned.
    Banned(IpAddr),
    /// An address was banned at the last poll and is not now.
    Unbanned(IpAddr),
    /// One id is listed at several addresses.
    SeenTwice { id: String, addresses: Vec<IpAddr> },
    /// Its state, worth a report.
    Status,
}

/// Remembers the last poll.
#[derive(Default)]
pub(super) struct Watch {
    network: String,
    /// `None` until it has answered since it was lost.
    banned: Option<BTreeSet<IpAddr>>,
    reported: BTreeSet<String>,
    /// Since the start, or since it was reported.
    failures: u32,
    status: Option<(Moment, bool, usize)>,
}

impl Watch {
    /// `network` is the one that kaspad must be on.
    pub(super) fn new(network: String) -> Self {
        Self { network, ..Self::default() }
    }

    /// kaspad does not answer; whether that is to be reported. At the start it may
    /// need a moment. What it forgets meanwhile, such as bans when its data is
    /// deleted, is not taken for its owner's will.
    pub(super) fn lost(&mut self) -> bool {
        self.status = None;
        self.failures = self.failures.saturating_add(1);
        self.banned.take().is_some() || self.failures == PATIENCE
    }

    /// Evaluates a poll; `tunnelled` recognizes the gateway's own addresses.
    pub(super) fn poll(&mut self, now: Moment, node: &KaspadSnapshot, tunnelled: impl Fn(IpAddr) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let is_new = self.banned.is_none();
        // From now on a loss is reported at once, and once.
        self.failures = PATIENCE;
        if node.network != self.network {
            findings.extend(is_new.then_some(Finding::OtherNetwork));
            self.banned.get_or_insert_default();
            return findings;
        }
        findings.extend(is_new.then_some(Finding::Up));
        let banned: BTreeSet<IpAddr> = node.banned.iter().map(IpAddr::to_canonical).filter(|ip| tunnelled(*ip)).collect();
        let before = self.banned.replace(banned.clone()).unwrap_or_default();
        findings.extend(banned.difference(&before).copied().map(Finding::Banned));
        findings.extend(before.difference(&banned).copied().map(Finding::Unbanned));
        findings.extend(self.seen_twice(node, &tunnelled));

        let peers = node.peers.len();
        let due = self.status.is_none_or(|(at, synced, before)| {
            synced != node.synced || (now.since(at) >= STATUS_INTERVAL && (!node.synced || before != peers))
        });
        if due {
            self.status = Some((now, node.synced, peers));
            findings.push(Finding::Status);
        }
        findings
    }

    fn seen_twice(&mut self, node: &KaspadSnapshot, tunnelled: impl Fn(IpAddr) -> bool) -> Vec<Finding> {
        let mut by_id: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for peer in &node.peers {
            by_id.entry(&peer.id).or_default().insert(peer.address.ip().to_canonical());
        }
        by_id.retain(|_, addresses| addresses.len() > 1 && addresses.iter().any(|ip| tunnelled(*ip)));
        self.reported.retain(|id| by_id.contains_key(id.as_str()));
        let mut findings = Vec::new();
        for (id, addresses) in by_id {
            if self.reported.len() < MAX_REPORTED && self.reported.insert(id.to_owned()) {
                findings.push(Finding::SeenTwice { id: id.to_owned(), addresses: addresses.into_iter().collect() });
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kaspad::KaspadPeer;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tunnelled(ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 127)
    }

    fn node(peers: &[(&str, &str)], banned: &[&str]) -> KaspadSnapshot {
        let peers = peers.iter().map(|(id, address)| KaspadPeer {
            id: (*id).into(),
            address: address.parse().unwrap(),
            round_trip: None,
        });
        let banned = banned.iter().map(|text| ip(text)).collect();
        KaspadSnapshot { network: "simnet".into(), peers: peers.collect(), banned, ..KaspadSnapshot::default() }
    }

    #[test]
    fn bans_are_followed_both_ways_but_not_over_a_loss() {
        let mut watch = Watch::new("simnet".into());
        let banned = node(&[], &["127.64.0.1", "192.0.2.1"]);
        let first = watch.poll(at(0), &banned, tunnelled);
        assert_eq!(first, [Finding::Up, Finding::Banned(ip("127.64.0.1")), Finding::Status]);
        assert_eq!(watch.poll(at(1), &banned, tunnelled), []);
        assert_eq!(watch.poll(at(2), &node(&[], &[]), tunnelled), [Finding::Unbanned(ip("127.64.0.1"))]);
        watch.poll(at(3), &banned, tunnelled);
        assert!(watch.lost() && !watch.lost());
        assert_eq!(watch.poll(at(4), &node(&[], &[]), tunnelled), [Finding::Up, Finding::Status], "its data may be new");
    }

    #[test]
    fn a_kaspad_that_never_answers_is_told_once_and_not_at_once() {
        let mut watch = Watch::new("simnet".into());
        let told: Vec<bool> = (0..8).map(|_| watch.lost()).collect();
        assert_eq!(told.iter().position(|told| *told), Some(3));
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
    }

    #[test]
    fn a_node_at_two_addresses_is_told_once() {
        let mut watch = Watch::new("simnet".into());
        let twice = node(&[("a", "127.64.0.1:5"), ("a", "192.0.2.1:6"), ("b", "127.64.0.2:7"), ("b", "127.64.0.2:8")], &[]);
        let told = Finding::SeenTwice { id: "a".into(), addresses: vec![ip("127.64.0.1"), ip("192.0.2.1")] };
        assert!(watch.poll(at(0), &twice, tunnelled).contains(&told));
        assert!(watch.poll(at(1), &twice, tunnelled).is_empty());
        let elsewhere = node(&[("a", "192.0.2.9:5"), ("a", "192.0.2.1:6")], &[]);
        assert!(watch.poll(at(2), &elsewhere, tunnelled).is_empty(), "that is not ours to tell");
    }

    #[test]
    fn another_network_is_told_once_and_the_status_not_too_often() {
        let mut watch = Watch::new("mainnet".into());
        assert_eq!(watch.poll(at(0), &node(&[], &[]), tunnelled), [Finding::OtherNetwork]);
        assert_eq!(watch.poll(at(1), &node(&[], &[]), tunnelled), []);
        watch.lost();
        let mut synced = KaspadSnapshot { network: "mainnet".into(), ..node(&[("a", "192.0.2.1:1")], &[]) };
        assert_eq!(watch.poll(at(2), &synced, tunnelled), [Finding::Up, Finding::Status]);
        assert_eq!(watch.poll(at(31), &synced, tunnelled), []);
        assert_eq!(watch.poll(at(32), &synced, tunnelled), [Finding::Status], "it is still syncing");
        synced.synced = true;
        assert_eq!(watch.poll(at(33), &synced, tunnelled), [Finding::Status]);
        assert_eq!(watch.poll(at(99), &synced, tunnelled), []);
    }
}
