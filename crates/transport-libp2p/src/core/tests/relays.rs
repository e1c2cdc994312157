//! A host and its relays: what is held for whom, and what libp2p makes of it.

use kaspath_domain::{PeerIdentity, RelayAddress, TransportSet};

use super::{
    sites::Nat,
    world::{End, Then, World},
};
use crate::{NetworkEvent, ReservationState, core::Input};

fn world(relays: usize, reserves: &[usize]) -> World {
    let mut world = World::new(1, relays);
    world.add(Nat::PortRestricted, reserves, |_| {});
    world
}

fn confirmed(world: &World, host: usize, relay: usize) -> usize {
    let is = |event: &NetworkEvent| matches!(event, NetworkEvent::Reservation { relay: at, state: ReservationState::Confirmed } if *at == world.relays[relay].id);
    world.hosts[host].events.iter().filter(|(_, event)| is(event)).count()
}

fn links(world: &World, host: usize, relay: usize) -> usize {
    world.hosts[host].live.values().filter(|live| live.end == End::Relay(relay)).count()
}

fn relay_address(world: &World, relay: usize) -> RelayAddress {
    RelayAddress { relay: world.relays[relay].id.clone(), via: world.relays[relay].tcp() }
}

fn add(world: &mut World, host: usize, relay: usize) {
    let address = relay_address(world, relay);
    let now = super::at(world.now);
    world.hosts[host].core.add_relay(&address.relay, vec![address.via], now).unwrap();
    world.deliver(host, Input::Elapsed);
}

fn remove(world: &mut World, host: usize, relay: usize) {
    let (id, now) = (world.relays[relay].id.clone(), super::at(world.now));
    world.hosts[host].core.remove_relay(&id, now);
    world.deliver(host, Input::Elapsed);
}

#[test]
fn a_relay_is_linked_over_both_transports_and_reserved_at() {
    let mut world = world(1, &[0]);
    world.run(5000);
    assert_eq!((confirmed(&world, 0, 0), links(&world, 0, 0)), (1, 2));
}

#[test]
fn a_reservation_is_remade_when_the_relay_comes_back() {
    let mut world = world(1, &[0]);
    world.run(5000);
    world.stop_relay(0);
    world.run(60_000);
    assert!(world.hosts[0].requests.is_empty());
    world.relays[0].up = true;
    world.run(120_000);
    assert_eq!(confirmed(&world, 0, 0), 2);
}

#[test]
fn links_that_die_in_silence_are_replaced_once_that_is_noticed() {
    let mut world = world(1, &[0]);
    world.run(5000);
    let dead: Vec<_> = world.hosts[0].live.keys().copied().collect();
    dead.into_iter().for_each(|id| world.cut(0, id));
    world.run(39_000);
    assert_eq!(confirmed(&world, 0, 0), 1, "nobody knows");
    world.run(10_000);
    assert_eq!((confirmed(&world, 0, 0), links(&world, 0, 0)), (2, 2));
}

/// As libp2p's relay client does it when a CONNECT over the same connection times out.
#[test]
fn a_reservation_that_ends_while_the_link_stands_is_asked_for_again() {
    let mut world = world(1, &[0]);
    world.run(5000);
    let request = *world.hosts[0].requests.keys().next().unwrap();
    world.hosts[0].requests.clear();
    world.last_word(0, Input::ReservationEnded { request, cause: "the other side ended it".to_owned() });
    world.run(5000);
    assert_eq!((confirmed(&world, 0, 0), links(&world, 0, 0)), (2, 2));
}

#[test]
fn a_relay_that_grants_nothing_gives_its_place_to_another() {
    let mut world = World::new(1, 2);
    world.relays[0].grants = false;
    world.add(Nat::FullCone, &[0, 1], |config| config.wanted_reservations = 1);
    world.run(5000);
    assert_eq!((confirmed(&world, 0, 0), confirmed(&world, 0, 1)), (0, 1));
    // Nobody needs the link to the first.
    world.run(400_000);
    assert_eq!(world.hosts[0].held, [world.relays[1].id.clone()].into());
    assert_eq!(links(&world, 0, 0), 0);
}

#[test]
fn a_relay_that_never_identifies_serves_nobody_and_keeps_nothing() {
    let mut world = world(1, &[0]);
    world.relays[0].mute = true;
    let address = relay_address(&world, 0);
    let connect = |waiter| Input::ConnectRelay { waiter, relay: address, transports: TransportSet::ALL };
    let waiter = world.ask(0, Then::Nothing, connect);
    world.run(30_000);
    assert!(!world.hosts[0].answers.contains_key(&waiter), "it waits for as long as it likes");
    let lost = |event: &_| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. });
    assert!(world.seen(0, lost).is_some(), "the reservation has a time of its own");
    world.give_up(0, waiter);
    remove(&mut world, 0, 0);
    world.run(400_000);
    assert_eq!((world.hosts[0].core.held(), world.hosts[0].held.len(), links(&world, 0, 0)), (0, 0, 0));
}

#[test]
fn a_caller_that_goes_leaves_nothing_at_whatever_stage() {
    for stage in (0..400).step_by(20) {
        let mut world = World::new(1, 1);
        world.add(Nat::PortRestricted, &[0], |_| {});
        world.add(Nat::PortRestricted, &[], |_| {});
        world.run(2000);
        world.punch(1, 0, 0, TransportSet::ALL);
        world.run(stage);
        let waiting: Vec<_> = world.hosts[1].waiting.keys().copied().collect();
        waiting.into_iter().for_each(|waiter| world.give_up(1, waiter));
        world.run(30_000);
        assert!(world.hosts[1].waiting.is_empty());
        assert_eq!(world.hosts[1].core.held(), 0, "at {stage} ms");
    }
}

#[test]
fn a_relay_that_was_added_is_reserved_at_and_one_that_was_removed_is_given_back() {
    let mut world = world(2, &[0]);
    world.run(5000);
    add(&mut world, 0, 1);
    world.run(5000);
    assert_eq!(confirmed(&world, 0, 1), 1);
    remove(&mut world, 0, 0);
    world.run(5000);
    assert_eq!((links(&world, 0, 0), links(&world, 0, 1)), (0, 2));
    assert_eq!(world.hosts[0].held, [world.relays[1].id.clone()].into());
    assert!(world.relays[0].reserved.is_empty());
    world.run(1_000_000);
    assert_eq!(confirmed(&world, 0, 0), 1, "and is not asked again");
}

#[test]
fn a_removed_relay_stays_linked_while_a_circuit_needs_it() {
    let mut world = World::new(1, 1);
    world.add(Nat::Symmetric, &[0], |_| {});
    world.add(Nat::Symmetric, &[], |_| {});
    world.run(2000);
    world.circuit(1, 0, 0, TransportSet::NONE);
    world.run(5000);
    remove(&mut world, 0, 0);
    world.run(400_000);
    assert!(world.relayed(0, 1) && links(&world, 0, 0) > 0);
    let circuit = *world.hosts[0].live.iter().find(|(_, live)| live.through.is_some()).unwrap().0;
    world.close(0, circuit);
    world.run(700_000);
    assert_eq!((links(&world, 0, 0), world.hosts[0].held.len()), (0, 0));
}

#[test]
fn relays_that_are_configured_are_bounded() {
    let mut world = world(1, &[]);
    let via = world.relays[0].tcp();
    let add = |world: &mut World, relay: PeerIdentity| {
        let now = super::at(world.now);
        world.hosts[0].core.add_relay(&relay, vec![via.clone()], now)
    };
    let added = (0..100).filter(|n| add(&mut world, super::identity(2000 + n)).is_ok()).count();
    assert_eq!(added, 64);
    assert!(add(&mut world, super::identity(2000)).is_ok(), "one that is known takes no place");
}

#[test]
fn links_that_died_in_silence_are_found_by_a_session_that_gets_no_answer_and_made_anew_at_once() {
    let mut world = world(2, &[0, 1]);
    world.run(5000);
    let before = [0, 1].map(|relay| confirmed(&world, 0, relay));
    let links: Vec<_> = world.hosts[0].live.keys().copied().collect();
    // The path that the session saw is one of them: it makes no difference.
    let suspect = links[0];
    links.into_iter().for_each(|id| world.cut(0, id));
    world.run(1000);
    assert_eq!([0, 1].map(|relay| confirmed(&world, 0, relay)), before, "nobody has noticed");
    world.deliver(0, Input::Suspect { id: suspect });
    world.run(2000);
    assert_eq!([0, 1].map(|relay| confirmed(&world, 0, relay)), before.map(|count| count + 1));
}

#[test]
fn links_that_answer_stay_when_a_path_is_suspect() {
    let mut world = world(1, &[0]);
    world.run(5000);
    let links: Vec<_> = world.hosts[0].live.keys().copied().collect();
    world.deliver(0, Input::Suspect { id: links[0] });
    world.run(5000);
    assert_eq!(world.hosts[0].live.keys().copied().collect::<Vec<_>>(), links);
    assert_eq!(confirmed(&world, 0, 0), 1);
}

#[test]
fn a_dial_that_was_lost_is_tried_again_beside_itself_for_a_caller_that_asks() {
    let mut world = world(1, &[]);
    world.loss = 1000;
    let relay = relay_address(&world, 0);
    let ask = |world: &mut World| {
        let relay = relay.clone();
        world.ask(0, Then::Nothing, |waiter| Input::ConnectRelay { waiter, relay, transports: TransportSet::NONE })
    };
    ask(&mut world);
    world.run(2500);
    world.loss = 0;
    let waiter = ask(&mut world);
    world.run(1000);
    assert!(world.hosts[0].answers[&waiter].is_ok());
}
