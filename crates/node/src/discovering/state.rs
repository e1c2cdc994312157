//! What discovery knows and decides, without I/O.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{
    DiscoveryAnswer, Groups, IpPrefix, Moment, NodeRecord, PeerAddress, PeerGroup, PeerIdentity, PeerLocator, PeerRecord,
    Timestamp, TransportAddress, below,
};
use kaspath_policy::{Answer, Askable, Directory, Discovered, Listings, Outbound, Questions, RelaySource};

use super::{
    gossip::{Gossip, PeerQuestion},
    group::Group,
    relays::{KnownRelay, KnownRelays},
    search::Answers,
    topic::Topic,
};
use crate::lock;

/// Between two questions for relays: at first shorter, while more are wanted, and else.
const RELAYS_FIRST: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const RELAYS_WANTED: Duration = Duration::from_secs(10);
const RELAYS_ENOUGH: Duration = Duration::from_secs(60);
/// After a reservation was lost peers' relays may be others too: all are asked.
const UNSETTLED: Duration = Duration::from_secs(60);
/// A proven peer is known for this long, was reached as lately as this, and as often.
const PROVEN_FOR: Duration = Duration::from_secs(24 * 3600);
const PROVEN_WITHIN: Duration = Duration::from_secs(14 * 24 * 3600);
const PROVEN_TIMES: u64 = 2;

/// What is asked for at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    pub(super) peers: bool,
    pub(super) relays: bool,
}

/// A question to be asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) topic: Topic,
    pub(super) to: KnownRelay,
}

/// Who has told.
pub(super) struct By {
    /// For whom the peers count that it tells of.
    pub(super) source: PeerGroup,
    /// The user has named it.
    pub(super) is_trusted: bool,
    /// Of what kind its relays are.
    pub(super) relays: RelaySource,
}

impl By {
    /// A relay that has answered from there, or an address of it that was claimed.
    pub(super) fn relay(to: &KnownRelay, from: Option<IpAddr>) -> Self {
        // Where it is said to be may be invented.
        let block = from.map(IpPrefix::provider_block).map(PeerGroup::Prefix);
        Self {
            source: block.unwrap_or_else(|| Groups::of_relay(&to.relay)),
            is_trusted: to.is_configured,
            relays: RelaySource::Rendezvous(to.relay.relay.clone()),
        }
    }

    /// A peer with a session.
    pub(super) fn peer(question: PeerQuestion) -> Self {
        Self { source: question.source, is_trusted: false, relays: RelaySource::Gossip(question.peer) }
    }
}

/// Everything that is decided by. Shared with what reads the directory.
pub(super) struct State {
    pub(super) outbound: Outbound,
    asks: Asks,
    pub(super) answers: Answers,
    listings: [Listings; 2],
    questions: Questions,
    all_asked: bool,
    gossip: Gossip,
    directory: Arc<Mutex<Directory>>,
    network: String,
    group: Option<Group>,
    /// When relays were asked for relays, how often, and whether that is under way.
    relays_asked: Option<Moment>,
    relays_times: usize,
    is_asking_for_relays: bool,
    lost: Option<Moment>,
}

impl State {
    pub(super) fn new(
        outbound: Outbound,
        asks: Asks,
        directory: Arc<Mutex<Directory>>,
        (network, group): (String, Option<Group>),
    ) -> Self {
        Self {
            outbound,
            asks,
            answers: Answers::default(),
            listings: <[Listings; 2]>::default(),
            questions: Questions::default(),
            all_asked: false,
            gossip: Gossip::default(),
            directory,
            network,
            group,
            relays_asked: None,
            relays_times: 0,
            is_asking_for_relays: false,
            lost: None,
        }
    }

    /// Where this node is listed.
    pub(super) fn listings(&mut self, topic: Topic) -> &mut Listings {
        &mut self.listings[topic as usize]
    }

    /// What this node says of itself has changed.
    pub(super) fn changed(&mut self, now: Moment) {
        self.listings.iter_mut().for_each(|listings| listings.changed(now));
    }

    /// Reservations have come or gone.
    pub(super) fn held_changed(&mut self, is_lost: bool, now: Moment) {
        self.changed(now);
        if is_lost {
            self.lost = Some(now);
        }
    }

    /// What to ask the known relays now. `is_served`: no more relays are wanted.
    pub(super) fn questions(
        &mut self,
        known: &[KnownRelay],
        is_served: bool,
        held: &BTreeSet<PeerIdentity>,
        now: Moment,
        random: &mut dyn FnMut() -> f64,
    ) -> Vec<Question> {
        self.answers.keep(known);
        let of = |id: &PeerIdentity| known.iter().find(|known| known.relay.relay == *id).cloned();
        let is_unsettled = self.lost.is_some_and(|lost| now.since(lost) < UNSETTLED);
        let is_wanting = self.outbound.is_below_target() || is_unsettled;
        let askable: Vec<Askable> = known.iter().filter(|_| self.asks.peers).map(|known| known.askable(held)).collect();
        let asked = self.questions.next(&askable, is_wanting, now, random);
        self.all_asked = self.questions.all_asked(&askable);
        let mut questions: Vec<Question> = asked.iter().filter_map(of).map(|to| Question { topic: Topic::Peers, to }).collect();
        let pause = match RELAYS_FIRST.get(self.relays_times) {
            _ if is_served => RELAYS_ENOUGH,
            Some(first) => *first,
            None => RELAYS_WANTED,
        };
        let may_ask = self.asks.relays && !self.is_asking_for_relays;
        let may_ask = may_ask && self.relays_asked.is_none_or(|asked| now.since(asked) >= pause);
        let from: Vec<KnownRelay> = held.iter().filter(|_| may_ask).filter_map(of).collect();
        if !from.is_empty() {
            let to = from[below(from.len(), random())].clone();
            questions.push(Question { topic: Topic::Relays, to });
            (self.is_asking_for_relays, self.relays_asked) = (true, Some(now));
            self.relays_times = self.relays_times.saturating_add(1);
        }
        questions
    }

    /// Whether every relay that was known at the last [`State::questions`] had been asked.
    pub(super) fn all_asked(&self) -> bool {
        self.all_asked
    }

    /// A question has an answer, or none.
    pub(super) fn answered(&mut self, question: &Question, answer: Answer, relays: &dyn KnownRelays, now: Moment) {
        if question.topic == Topic::Relays {
            (self.is_asking_for_relays, self.relays_asked) = (false, Some(now));
            return;
        }
        let relay = &question.to.relay.relay;
        let is_at_fault = self.questions.answered(relay, answer, now);
        if is_at_fault || !matches!(answer, Answer::None | Answer::NotAsked) {
            relays.answered(relay, !is_at_fault);
        }
    }

    /// Without a group everybody is one: whoever knows a group's name can list others there.
    fn is_member(&self, record: &NodeRecord) -> bool {
        self.group.as_ref().is_none_or(|group| record.tag == Some(group.tag(&record.peer)))
    }

    /// What to ask one of the peers with a session now.
    pub(super) fn peer_question(&mut self, now: Moment, random: &mut dyn FnMut() -> f64) -> Option<PeerQuestion> {
        let up = self.outbound.slots().filter(|(_, slot)| slot.is_up());
        let up: Vec<_> = up.map(|(peer, slot)| (peer.clone(), slot.source().clone())).collect();
        let topics = [(Topic::Peers, self.asks.peers), (Topic::Relays, self.asks.relays)];
        let topics: Vec<Topic> = topics.into_iter().filter(|(_, wanted)| *wanted).map(|(topic, _)| topic).collect();
        self.gossip.next(&up, &topics, now, random)
    }

    /// Takes in what somebody has told; how many are new.
    pub(super) fn told(
        &mut self,
        (topic, by): (Topic, &By),
        answer: &DiscoveryAnswer,
        relays: &dyn KnownRelays,
        now: Moment,
        random: &mut dyn FnMut() -> f64,
    ) -> usize {
        let By { source, is_trusted, relays: relay_source } = by;
        let mut new = 0;
        let mut discovered = Vec::new();
        for told in &answer.told {
            let record = told.record.record();
            match topic {
                Topic::Relays if record.kind.is_relay() => relays.told(told, relay_source.clone()),
                Topic::Peers if record.kind.is_node() && record.network == self.network && self.is_member(record) => {
                    discovered.push(Discovered {
                        peer: record.peer.clone(),
                        claims: claims(record),
                        source: source.clone(),
                        is_trusted: *is_trusted,
                        until: now + told.left,
                    });
                }
                _ => continue,
            }
            new += usize::from(lock(&self.directory).insert(told, source.clone(), now));
        }
        self.outbound.told(discovered, now, random);
        new
    }
}

/// Where a peer says it can be dialled straight.
fn claims(record: &NodeRecord) -> Groups {
    let direct = record.candidates.iter().filter(|_| record.reachable).filter_map(TransportAddress::provider_block);
    direct.map(PeerGroup::Prefix).collect()
}

/// By what a peer was reached last, and when.
fn worked(record: &PeerRecord) -> Option<(Timestamp, &PeerLocator)> {
    record.addresses.iter().filter_map(|address| Some((address.last_worked?, &address.locator))).max()
}

/// The block where a peer is that was reached straight the last time.
pub(super) fn carrier(record: &PeerRecord) -> Option<PeerGroup> {
    worked(record)?.1.address.direct()?.provider_block().map(PeerGroup::Prefix)
}

/// The peers of a book that have served well before, the last ones first, with what they count for.
pub(super) fn proven(records: &[PeerRecord], relays: &[KnownRelay], now: Timestamp) -> Vec<(PeerIdentity, PeerGroup)> {
    let mut proven = Vec::new();
    for record in records {
        let is_relay = record.relayed.carried > 0 || relays.iter().any(|known| known.relay.relay == record.peer);
        let Some((worked, locator)) = worked(record).filter(|_| !is_relay && !record.is_banned(now)) else { continue };
        let is_proven = worked.since(record.first_seen) >= PROVEN_FOR
            && now.since(worked) <= PROVEN_WITHIN
            && record.successes >= PROVEN_TIMES;
        if is_proven && let Some(group) = group(locator) {
            proven.push((worked, record.peer.clone(), group));
        }
    }
    proven.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    proven.into_iter().map(|(_, peer, group)| (peer, group)).collect()
}

fn group(locator: &PeerLocator) -> Option<PeerGroup> {
    match &locator.address {
        PeerAddress::Relayed(relay) => Some(Groups::of_relay(relay)),
        PeerAddress::Direct(address) => address.provider_block().map(PeerGroup::Prefix),
    }
}
