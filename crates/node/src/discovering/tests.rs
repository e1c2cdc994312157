use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use kaspath_domain::{
    AddressSource, Direction, Groups, IpPrefix, NatMapping, NodeRecord, ObservedAddress, Observers, Path, PeerGroup, PeerRecord,
    RecordDraft, RecordKind, SignedRecord, Timestamp, Told, Transport, TransportAddress, memory::MemoryPeerBook,
    ports::MockDiscovery,
};
use kaspath_policy::RelaySource;
use kaspath_transport_libp2p::{NetworkEvent, RelayService, ReservationState};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::*;

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 2, 1, n]).unwrap()
}

fn relay(n: u8) -> RelayAddress {
    let via = TransportAddress::tcp(([203, n, 113, 1], 4001).into());
    RelayAddress { relay: PeerIdentity::from_bytes(&[0, 2, 9, n]).unwrap(), via }
}

fn told(n: u8, at: &RelayAddress) -> Told {
    let draft = RecordDraft {
        kind: RecordKind::Node,
        network: "simnet".to_owned(),
        gossip: true,
        mapping: NatMapping::Unknown,
        reachable: false,
        ttl: TTL,
        relays: vec![at.clone()],
        candidates: Vec::new(),
        load: None,
        tag: None,
    };
    Told { record: signed(peer(n), draft), left: TTL }
}

/// What a relay answers where it is said to be.
fn answer(told: Vec<Told>, at: &RelayAddress) -> DiscoveryAnswer {
    DiscoveryAnswer { told, from: at.via.ip() }
}

fn signed(peer: PeerIdentity, draft: RecordDraft) -> SignedRecord {
    let RecordDraft { kind, network, gossip, mapping, reachable, ttl, relays, candidates, load, tag } = draft;
    let issued = Timestamp::from_epoch(Duration::from_secs(1));
    let record = NodeRecord { peer, kind, network, gossip, mapping, reachable, issued, ttl, relays, candidates, load, tag };
    SignedRecord::verified(record, &[])
}

/// Peers that are there until they are told to go; what was asked of them.
#[derive(Default)]
struct Peers {
    open: Mutex<HashMap<PeerIdentity, watch::Sender<bool>>>,
    dropped: Arc<AtomicUsize>,
}

struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl ReachPeer for Peers {
    async fn reach(&self, target: PeerTarget, up: Box<dyn FnOnce() + Send>) -> Result<(), String> {
        assert!(!target.addresses.is_empty(), "the record's addresses are there");
        let peer = target.peer.unwrap();
        if peer == super::tests::peer(13) {
            return Err("nobody answers".to_owned());
        }
        let (end, mut ended) = watch::channel(false);
        lock(&self.open).insert(peer, end);
        let _counts = CountsDrop(self.dropped.clone());
        up();
        let _ = ended.wait_for(|ended| *ended).await;
        Ok(())
    }
}

struct World {
    discovering: Discovering,
    held: HeldRelays,
    peers: Arc<Peers>,
    events: mpsc::UnboundedReceiver<DiscoveryEvent>,
    running: Option<JoinHandle<()>>,
}

/// A node that knows two relays, each of which tells what `tell` says.
fn world(discovery: MockDiscovery, outbound: usize, is_listed: bool) -> World {
    world_of(discovery, outbound, is_listed, Arc::new(ConfiguredRelays(vec![relay(1), relay(2)])))
}

fn world_of(discovery: MockDiscovery, outbound: usize, is_listed: bool, relays: Arc<dyn KnownRelays>) -> World {
    world_at(discovery, outbound, is_listed, relays, Vec::new())
}

/// The same of a node that strangers reach there.
fn world_at(
    discovery: MockDiscovery,
    outbound: usize,
    is_listed: bool,
    relays: Arc<dyn KnownRelays>,
    reachable: Vec<TransportAddress>,
) -> World {
    let (sender, events) = mpsc::unbounded_channel();
    let observers = Observers::of(Arc::new(move |event: &DiscoveryEvent| drop(sender.send(event.clone()))));
    let config = DiscoverConfig {
        network: "simnet".to_owned(),
        namespace: Namespace::of_network("simnet").unwrap(),
        group: None,
        outbound,
        is_listed,
        shows_addresses: false,
        configured: vec![peer(1)],
        relays,
        observers,
    };
    let (held, peers) = (HeldRelays::default(), Arc::new(Peers::default()));
    let own = Own::new(&config, Arc::new(|| NatMapping::EndpointIndependent), Vec::new, move || reachable.clone(), held.clone());
    let book = Arc::new(MemoryPeerBook::new(100));
    let discovering =
        Discovering::new(Arc::new(discovery), peers.clone(), book, MonotonicClock::start(), config, &held, Arc::default(), own);
    World { discovering, held, peers, events, running: None }
}

fn mock() -> MockDiscovery {
    let mut discovery = MockDiscovery::new();
    discovery.expect_identity().returning(|| peer(0));
    discovery.expect_sign().returning(|draft| signed(peer(0), draft));
    discovery
}

fn hold(held: &HeldRelays, relay: &RelayAddress, state: ReservationState) {
    held.observe(&NetworkEvent::Reservation { relay: relay.relay.clone(), state });
}

impl World {
    /// Runs it until this many events fit.
    async fn until(&mut self, count: usize, fits: impl Fn(&DiscoveryEvent) -> bool) -> Vec<DiscoveryEvent> {
        let discovering = self.discovering.clone();
        self.running.get_or_insert_with(|| tokio::spawn(async move { discovering.run().await }));
        let mut found = Vec::new();
        let waiting = async {
            while found.len() < count {
                let event = self.events.recv().await.unwrap();
                found.extend(fits(&event).then_some(event));
            }
        };
        timeout(Duration::from_secs(7200), waiting).await.unwrap();
        found
    }

    /// Ends it.
    async fn end(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
}

fn is_reached(event: &DiscoveryEvent) -> bool {
    matches!(event, DiscoveryEvent::DiscoveredPeer { change: DiscoveredChange::Reached, .. })
}

#[tokio::test(start_paused = true)]
async fn peers_that_relays_tell_of_are_reached_up_to_the_target_but_not_this_node_or_a_configured_one() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|teller, _, limit| {
        assert_eq!(limit, PEERS);
        let Teller::Relay(at) = teller else { panic!("{teller:?}") };
        Ok(answer((0..8).map(|n| told(n, at)).collect(), at))
    });
    let mut world = world(discovery, 3, false);
    let began = Instant::now();
    let reached = world.until(3, is_reached).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let of = |event: &DiscoveryEvent| match event {
        DiscoveryEvent::DiscoveredPeer { peer, groups, .. } => (peer.clone(), groups.clone()),
        other => panic!("{other:?}"),
    };
    let [first, second, third] = [0, 1, 2].map(|n| of(&reached[n]));
    assert!(!first.1.overlap(&second.1), "one of each relay first");
    for (peer, _) in [&first, &second, &third] {
        assert!((2..8).any(|n| *peer == super::tests::peer(n)), "{peer}");
    }
    assert_eq!(world.discovering.peers().iter().filter(|peer| peer.age.is_some()).count(), 3);
    world.end().await;
    while world.peers.dropped.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.peers.dropped.load(Ordering::Relaxed), 3, "sessions end with what runs them");
}

#[tokio::test(start_paused = true)]
async fn relays_that_are_said_to_be_far_apart_and_answer_from_one_host_count_as_one() {
    let mut discovery = mock();
    let host = std::net::IpAddr::from([198, 51, 100, 9]);
    discovery.expect_ask().returning(move |teller, _, _| {
        let Teller::Relay(at) = teller else { return Err(DiscoveryError::NotSpoken) };
        Ok(DiscoveryAnswer { told: (2..8).map(|n| told(n, at)).collect(), from: Some(host) })
    });
    let mut world = world(discovery, 3, false);
    let reached = world.until(1, is_reached).await;
    let expected: Groups = [PeerGroup::Prefix(IpPrefix::provider_block(host))].into_iter().collect();
    assert!(matches!(&reached[..], [DiscoveryEvent::DiscoveredPeer { groups, .. }] if *groups == expected), "{reached:?}");
    world.until(10, |event| matches!(event, DiscoveryEvent::PeersTold { .. })).await;
    assert!(world.discovering.peers().iter().all(|peer| peer.groups == expected));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_makes_room_for_another_and_one_that_fails_is_reported() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|teller, _, _| {
        let Teller::Relay(at) = teller else { return Err(DiscoveryError::NotSpoken) };
        Ok(answer(if at.relay == relay(2).relay { vec![told(13, at)] } else { vec![told(2, at), told(3, at)] }, at))
    });
    let mut world = world(discovery, 1, false);
    let failed = |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::DiscoveredPeer { cause: Some(_), .. });
    let peers = world.peers.clone();
    let leaving = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(120)).await;
            for end in lock(&peers.open).values() {
                let _ = end.send(true);
            }
        }
    });
    assert_eq!(world.until(1, failed).await.len(), 1);
    world.until(3, |event| matches!(event, DiscoveryEvent::DiscoveredPeer { change: DiscoveredChange::Ended, .. })).await;
    leaving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_is_listed_where_it_has_a_reservation_with_the_relays_it_has_and_is_taken_off_at_the_end() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|_, _, _| Err(DiscoveryError::NotSpoken));
    discovery.expect_list().returning(|at, namespace, record, ttl| {
        assert_eq!((namespace.as_str(), ttl), ("/kaspath/1/n/simnet", TTL));
        let record = record.record();
        assert!(record.relays.iter().any(|named| named == at), "{record:?}");
        assert!(record.candidates.is_empty() && record.mapping == NatMapping::EndpointIndependent);
        if *at == relay(2) { Err(DiscoveryError::Refused("full".to_owned())) } else { Ok(Duration::from_secs(100)) }
    });
    discovery.expect_unlist().times(1).withf(|at, _| *at == relay(1)).returning(|_, _| ());
    let mut world = world(discovery, 1, true);
    hold(&world.held, &relay(1), ReservationState::Confirmed);
    let listed = |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::Listed { .. } | DiscoveryEvent::ListRefused { .. });
    let first = world.until(1, listed).await;
    assert_eq!(first, [DiscoveryEvent::Listed { relay: relay(1).relay, granted: Duration::from_secs(100) }]);
    hold(&world.held, &relay(2), ReservationState::Confirmed);
    // The new one at once, the other one when its record has settled; then at half time.
    let next = world.until(3, listed).await;
    let of = |event: &DiscoveryEvent| match event {
        DiscoveryEvent::Listed { relay, .. } => (relay.clone(), true),
        DiscoveryEvent::ListRefused { relay, .. } => (relay.clone(), false),
        other => panic!("{other:?}"),
    };
    let next: Vec<_> = next.iter().map(of).collect();
    assert!(next.contains(&(relay(2).relay, false)) && next.contains(&(relay(1).relay, true)), "{next:?}");
    world.discovering.unlist().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_serves_as_a_relay_lists_itself_at_itself_and_takes_that_back_at_the_end() {
    let mut discovery = mock();
    discovery.expect_list().times(1..).returning(|at, namespace, record, ttl| {
        let here = TransportAddress::tcp(([203, 0, 113, 9], 4001).into());
        assert_eq!((namespace.as_str(), at), ("/kaspath/1/n/simnet", &RelayAddress { relay: peer(0), via: here.clone() }));
        assert!(record.record().reachable && record.record().candidates == [here]);
        assert!(!record.record().gossip, "it knows no relay, so others may not pass it on");
        Ok(ttl)
    });
    discovery.expect_unlist().times(1).withf(|at, _| at.relay == peer(0)).returning(|_, _| ());
    let reachable = vec![TransportAddress::tcp(([203, 0, 113, 9], 4001).into())];
    let mut world = world_at(discovery, 0, true, Arc::new(ConfiguredRelays(Vec::new())), reachable);
    assert!(HeldRelays::of(true).serves() && !world.held.serves());
    world.held.observe(&NetworkEvent::Serving { state: RelayService::Open });
    let listed = |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::Listed { relay, .. } if *relay == peer(0));
    // Again at half time.
    world.until(2, listed).await;
    world.discovering.unlist().await;
}

#[tokio::test(start_paused = true)]
async fn an_unlisted_node_asks_and_tells_nothing() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|_, _, _| Ok(answer(Vec::new(), &relay(1))));
    discovery.expect_list().never();
    discovery.expect_unlist().never();
    let mut world = world(discovery, 1, false);
    hold(&world.held, &relay(1), ReservationState::Confirmed);
    world.until(20, |event| matches!(event, DiscoveryEvent::PeersTold { .. })).await;
    world.discovering.unlist().await;
}

#[test]
fn of_a_private_group_only_members_are_taken_whoever_lists_others_under_its_name() {
    let (group, other) = (Group::new(b"the secret of one").unwrap(), Group::new(b"that of another one").unwrap());
    let directory: Arc<Mutex<Directory>> = Arc::default();
    let asks = Asks { peers: true, relays: true };
    let mut state = State::new(Outbound::new(4, []), asks, directory.clone(), ("simnet".to_owned(), Some(group.clone())));
    let tagged = |n: u8, tag: Option<[u8; 16]>| {
        let Told { record, left } = told(n, &relay(1));
        let record = NodeRecord { tag, ..record.record().clone() };
        Told { record: SignedRecord::verified(record, &[]), left }
    };
    let known = [
        tagged(2, Some(group.tag(&peer(2)))),
        tagged(3, None),
        tagged(4, Some(other.tag(&peer(4)))),
        // A member's tag is of no use for another peer.
        tagged(5, Some(group.tag(&peer(2)))),
    ];
    let relays = ConfiguredRelays(vec![relay(1)]);
    let by = By::relay(&relays.known()[0], None);
    let now = MonotonicClock::start().now();
    let new = state.told((Topic::Peers, &by), &answer(known.to_vec(), &relay(1)), &relays, now, &mut || 0.5);
    assert_eq!(new, 1);
    let taken: Vec<_> = (2..6).filter(|n| lock(&directory).get(&peer(*n), now).is_some()).collect();
    assert_eq!(taken, [2]);
}

#[tokio::test(start_paused = true)]
async fn what_came_of_asking_is_known_by_the_last_answer_of_each_relay() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|teller, _, _| match teller {
        // Its own entry alone.
        Teller::Relay(at) if *at == relay(1) => Ok(answer(vec![told(0, at)], at)),
        _ => Err(DiscoveryError::NotSpoken),
    });
    let mut world = world(discovery, 1, true);
    assert_eq!(world.discovering.search(), Search { known: 2, ..Search::default() });
    for relay in [relay(1).relay, relay(2).relay] {
        let of = move |event: &DiscoveryEvent| match event {
            DiscoveryEvent::PeersTold { teller, .. } | DiscoveryEvent::PeersNotTold { teller, .. } => *teller == relay,
            _ => false,
        };
        world.until(1, of).await;
    }
    let search = world.discovering.search();
    assert_eq!(search, Search { known: 2, nobody: 1, not_spoken: 1, ..Search::default() });
    assert_eq!(search.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_with_a_session_is_asked_too_and_what_it_tells_counts_for_who_told_of_it() {
    let mut discovery = mock();
    discovery.expect_ask().returning(|teller, namespace, _| match teller {
        Teller::Relay(at) if *at == relay(1) => Ok(answer(vec![told(2, at)], at)),
        Teller::Relay(_) => Ok(DiscoveryAnswer { told: Vec::new(), from: None }),
        Teller::Peer(by) => {
            assert_eq!(*by, peer(2));
            let of_peers = *namespace == Namespace::of_network("simnet").unwrap();
            let told = if of_peers { vec![told(3, &relay(9))] } else { Vec::new() };
            Ok(DiscoveryAnswer { told, from: None })
        }
    });
    let mut world = world(discovery, 2, false);
    let reached = world.until(2, is_reached).await;
    let of = |event: &DiscoveryEvent| match event {
        DiscoveryEvent::DiscoveredPeer { peer, groups, .. } => (peer.clone(), groups.clone()),
        other => panic!("{other:?}"),
    };
    let [first, second] = [0, 1].map(|n| of(&reached[n]));
    assert_eq!((&first.0, &second.0), (&peer(2), &peer(3)));
    assert!(first.1.overlap(&second.1), "a peer that tells of others brings no group of its own");
    let of = |namespace: &str| world.discovering.known_records()(&namespace.parse().unwrap(), 9);
    let names = |records: Vec<SignedRecord>| records.iter().map(|known| known.record().peer.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(of("/kaspath/1/n/simnet")), BTreeSet::from([peer(2), peer(3)]));
    assert_eq!((names(of("/kaspath/1/relays")), names(of("/kaspath/1/n/mainnet"))), (BTreeSet::new(), BTreeSet::new()));
}

/// Two relays that the user gave, and no others.
struct Given(ConfiguredRelays);

impl KnownRelays for Given {
    fn known(&self) -> Vec<KnownRelay> {
        self.0.known()
    }

    fn is_served(&self) -> bool {
        false
    }

    fn takes_strangers(&self) -> bool {
        false
    }

    fn told(&self, _: &Told, _: RelaySource) {}

    fn answered(&self, _: &PeerIdentity, _: bool) {}
}

#[test]
fn nobody_is_asked_for_what_is_not_wanted_nor_dialled_through_a_relay_of_strangers() {
    let given = || Arc::new(Given(ConfiguredRelays(vec![relay(1), relay(2)])));
    let any = || Arc::new(ConfiguredRelays(vec![relay(1), relay(2)]));
    let held: BTreeSet<_> = [relay(1).relay].into();
    let asked = |outbound, relays: Arc<dyn KnownRelays>| {
        let world = world_of(mock(), outbound, true, relays.clone());
        let now = world.discovering.0.clock.now();
        let questions = world.discovering.state().questions(&relays.known(), false, &held, now, &mut || 0.5);
        questions.into_iter().map(|question| question.topic).collect::<Vec<_>>()
    };
    assert_eq!(asked(1, any()), [Topic::Peers, Topic::Peers, Topic::Relays]);
    assert_eq!(asked(0, any()), [Topic::Relays]);
    assert_eq!(asked(1, given()), [Topic::Peers, Topic::Peers]);
    assert_eq!(asked(0, given()), []);
    let through = |at: RelayAddress| PeerLocator { peer: Some(peer(1)), address: kaspath_domain::PeerAddress::Relayed(at) };
    let direct: PeerLocator = "/ip4/203.0.113.9/tcp/1".parse().unwrap();
    let relays = given();
    assert!(may_dial(relays.as_ref(), &through(relay(1))) && may_dial(relays.as_ref(), &direct));
    assert!(!may_dial(relays.as_ref(), &through(relay(3))) && may_dial(any().as_ref(), &through(relay(3))));
}

#[test]
fn a_public_node_is_listed_without_a_reservation_and_says_where_it_is_and_whether_it_is_a_relay() {
    let world = world(mock(), 0, true);
    let known = world.discovering.0.config.relays.known();
    let at = |ip: [u8; 4]| TransportAddress::tcp((ip, 4001).into());
    let reachable: Arc<Mutex<Vec<TransportAddress>>> = Arc::default();
    let (read, config) = (reachable.clone(), &world.discovering.0.config);
    let own = Own::new(config, Arc::new(|| NatMapping::Unknown), Vec::new, move || lock(&read).clone(), world.held.clone());
    let none = BTreeSet::new();
    assert!(!own.look() && own.lists_at(&known, &none).is_empty());
    lock(&reachable).extend([at([10, 0, 0, 1]), at([203, 0, 113, 9])]);
    assert!(own.look() && !own.look() && own.here(peer(9)).is_none());
    assert_eq!((own.lists_at(&known, &none).len(), own.lists_relay_at(&known).len()), (2, 0));
    assert_eq!(own.draft(&known, &none).kind, RecordKind::Node);
    world.held.observe(&NetworkEvent::Serving { state: RelayService::Open });
    assert!(own.look());
    assert_eq!(own.lists_relay_at(&known).len(), 2);
    assert_eq!(own.here(peer(9)).map(|here| here.relay), Some(peer(9)), "its guests are told of it as well");
    let draft = own.draft(&known, &none);
    assert_eq!((draft.candidates, draft.reachable, draft.kind), (vec![at([203, 0, 113, 9])], true, RecordKind::Both));
    lock(&reachable).clear();
    assert!(own.look() && own.lists_relay_at(&known).is_empty() && own.lists_at(&known, &none).is_empty());
}

#[test]
fn a_relay_known_by_name_is_named_as_long_as_it_is_held_however_many_peers_are_connected() {
    let world = world(mock(), 0, true);
    let by_name = RelayAddress { via: "/dns/relay.example/tcp/4001".parse().map(direct).unwrap(), ..relay(1) };
    let connected = |peer: &PeerIdentity, at: &str| NetworkEvent::Connected {
        peer: peer.clone(),
        direction: Direction::Outbound,
        path: Path::Direct { transport: Transport::Tcp },
        remote: at.parse().unwrap(),
    };
    world.held.observe(&connected(&by_name.relay, "/ip4/203.0.113.1/tcp/4001"));
    hold(&world.held, &by_name, ReservationState::Confirmed);
    for n in 0..300_u16 {
        let [a, b] = n.to_be_bytes();
        let peer = PeerIdentity::from_bytes(&[0, 3, 7, a, b]).unwrap();
        world.held.observe(&connected(&peer, &format!("/ip4/198.51.{a}.{b}/tcp/1")));
    }
    let known = vec![KnownRelay { relay: by_name.clone(), is_configured: true, tellers: Vec::new() }];
    let own = Own::new(&world.discovering.0.config, Arc::new(|| NatMapping::Unknown), Vec::new, Vec::new, world.held.clone());
    let named = own.draft(&known, &[by_name.relay.clone()].into_iter().collect()).relays;
    assert_eq!(
        named,
        [relay(1).relay].map(|relay| RelayAddress { relay, via: direct("/ip4/203.0.113.1/tcp/4001".parse().unwrap()) })
    );
}

fn direct(locator: PeerLocator) -> TransportAddress {
    locator.address.direct().unwrap().clone()
}

#[test]
fn who_was_reached_for_days_has_proven_itself_and_a_relay_or_a_banned_peer_has_not() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let at = |days: u32| Timestamp::from_epoch(DAY * (100 + days));
    let record = |n: u8, first: u32, last: u32| {
        let locator = format!("/ip4/198.51.{n}.1/tcp/1").parse().unwrap();
        let mut known = ObservedAddress::new(locator, AddressSource::Dialed { relay: None }, at(first));
        known.last_worked = Some(at(last));
        PeerRecord { addresses: vec![known], successes: 5, ..PeerRecord::new(peer(n), at(first)) }
    };
    let (good, better) = (record(1, 0, 8), record(2, 0, 9));
    let banned = PeerRecord { manual_ban: Some(at(40)), ..record(3, 0, 9) };
    let is_relay = PeerRecord { peer: relay(1).relay, ..record(4, 0, 9) };
    let (new, once) = (record(5, 9, 9), PeerRecord { successes: 1, ..record(6, 0, 9) });
    let relays = ConfiguredRelays(vec![relay(1)]).known();
    let found = |now| {
        let records = [good.clone(), better.clone(), banned.clone(), is_relay.clone(), new.clone(), once.clone()];
        proven(&records, &relays, at(now)).into_iter().map(|(peer, _)| peer).collect::<Vec<_>>()
    };
    assert_eq!(found(10), [peer(2), peer(1)]);
    assert_eq!(found(23), [peer(2)], "the other one was reached too long ago");
}
