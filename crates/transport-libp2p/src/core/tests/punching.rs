//! Two hosts, a relay between them, and their NATs.

use kaspath_domain::{RelayReason, Transport, TransportSet};

use super::{
    sites::Nat::{self, FullCone, PortRestricted, Symmetric},
    world::World,
};
use crate::{NetworkEvent, ReservationState, core::Input};

const SERVER: usize = 0;
const CLIENT: usize = 1;

/// A server with a reservation, and a client.
fn pair(client: Nat, server: Nat) -> World {
    let mut world = World::new(1, 1);
    world.add(server, &[0], |_| {});
    world.add(client, &[], |_| {});
    world.run(2000);
    let confirmed = |event: &_| matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. });
    assert!(world.seen(SERVER, confirmed).is_some());
    world
}

fn attempts(world: &World) -> u32 {
    let started = |(_, event): &&(u64, NetworkEvent)| matches!(event, NetworkEvent::PunchStarted { .. });
    u32::try_from(world.hosts[SERVER].events.iter().filter(started).count()).unwrap()
}

#[test]
fn the_first_attempt_connects_directly_wherever_a_packet_can_pass() {
    for (client, server) in [
        (FullCone, FullCone),
        (FullCone, PortRestricted),
        (PortRestricted, FullCone),
        (PortRestricted, PortRestricted),
        (Symmetric, FullCone),
        (FullCone, Symmetric),
    ] {
        for transports in [TransportSet::TCP, TransportSet::QUIC, TransportSet::ALL] {
            let mut world = pair(client, server);
            let waiter = world.punch(CLIENT, 0, SERVER, transports);
            world.run(9000);
            let answer = world.hosts[CLIENT].answers.get(&waiter);
            assert!(matches!(answer, Some(Ok(_))), "{client:?} {server:?} {transports:?}: {answer:?}");
            assert_eq!(attempts(&world), 1, "{client:?} {server:?} {transports:?}");
            assert!(world.direct(CLIENT, SERVER) && world.direct(SERVER, CLIENT));
            assert!(!world.relayed(CLIENT, SERVER), "the circuit is closed");
        }
    }
}

/// With the round trip over the relay as the measure: candidates in one, SYNC half a one
/// later, and no other wait before the dials.
#[test]
fn no_round_trip_is_added_to_dcutr() {
    for (transports, transport) in [(TransportSet::TCP, Transport::Tcp), (TransportSet::QUIC, Transport::Quic)] {
        let mut world = pair(PortRestricted, PortRestricted);
        world.punch(CLIENT, 0, SERVER, transports);
        world.run(5000);
        let rtt = 4 * world.latency;
        let began = world.seen(SERVER, |event| matches!(event, NetworkEvent::PunchStarted { .. })).unwrap();
        let dialled = |host| world.seen(host, |event| matches!(event, NetworkEvent::PunchDialing { .. })).unwrap() - began;
        assert_eq!((dialled(SERVER), dialled(CLIENT)), (rtt, rtt * 3 / 2));
        let succeeded = |event: &_| matches!(event, NetworkEvent::PunchSucceeded { transport: over, .. } if *over == transport);
        let stands = world.seen(CLIENT, succeeded).unwrap() - began;
        let handshake = if transport == Transport::Tcp { rtt } else { rtt / 2 };
        assert_eq!(stands, rtt * 3 / 2 + handshake);
    }
}

#[test]
fn where_no_packet_can_pass_the_cadence_is_followed_and_nothing_stays_held() {
    for (client, server) in [(Symmetric, PortRestricted), (PortRestricted, Symmetric), (Symmetric, Symmetric)] {
        let mut world = pair(client, server);
        let waiter = world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
        // Attempts of 10.5 s, and 2, 5, 10 and 20 s between them.
        world.run(95_000);
        assert!(!world.direct(CLIENT, SERVER) && world.relayed(CLIENT, SERVER));
        assert_eq!(attempts(&world), 5);
        let failed =
            |event: &_| matches!(event, NetworkEvent::PunchFailed { reason: RelayReason::PunchFailed { attempts: 5 }, .. });
        assert!(world.seen(SERVER, failed).is_some());
        world.give_up(CLIENT, waiter);
        for host in [CLIENT, SERVER] {
            assert!(world.hosts[host].exchanges.is_empty() && world.hosts[host].dials.is_empty());
        }
    }
}

#[test]
fn lost_packets_cost_time_and_no_attempt() {
    for seed in 1..50 {
        let mut world = World::new(seed, 1);
        world.add(PortRestricted, &[0], |_| {});
        world.add(PortRestricted, &[], |_| {});
        world.run(2000);
        world.loss = 300;
        let waiter = world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
        world.run(120_000);
        // The relay itself may not have been reached.
        let asked = world.seen(SERVER, |event| matches!(event, NetworkEvent::PunchStarted { .. })).is_some();
        assert_eq!(matches!(world.hosts[CLIENT].answers.get(&waiter), Some(Ok(_))), asked, "seed {seed}");
    }
}

#[test]
fn a_peer_without_dcutr_is_asked_once() {
    let mut world = pair(FullCone, FullCone);
    world.hosts[CLIENT].punches = false;
    world.circuit(CLIENT, 0, SERVER, TransportSet::NONE);
    world.run(600_000);
    let cannot =
        |event: &_| matches!(event, NetworkEvent::PunchFailed { reason: RelayReason::PeerCannotPunch, retry_in: None, .. });
    assert!(world.seen(SERVER, cannot).is_some());
    assert_eq!(attempts(&world), 1);
}

#[test]
fn a_direct_connection_that_breaks_is_punched_again_over_the_circuit_that_is_left() {
    let mut world = pair(PortRestricted, PortRestricted);
    world.punch(CLIENT, 0, SERVER, TransportSet::QUIC);
    world.run(5000);
    // A new circuit beside the direct connection is not punched.
    world.circuit(CLIENT, 0, SERVER, TransportSet::QUIC);
    world.run(5000);
    assert_eq!(attempts(&world), 1);
    let is_direct = |live: &super::world::Live| live.through.is_none() && matches!(live.end, super::world::End::Host(..));
    let direct = *world.hosts[SERVER].live.iter().find(|(_, live)| is_direct(live)).unwrap().0;
    world.close(SERVER, direct);
    world.run(5000);
    assert!(world.direct(SERVER, CLIENT));
    assert_eq!(attempts(&world), 2);
}

#[test]
fn other_transports_to_punch_end_the_circuits_that_were_told_of_the_former_ones() {
    let mut world = pair(Symmetric, Symmetric);
    world.circuit(CLIENT, 0, SERVER, TransportSet::NONE);
    world.run(3000);
    assert!(world.relayed(CLIENT, SERVER));
    let punch = crate::PunchConfig { transports: TransportSet::NONE, ..crate::PunchConfig::default() };
    world.deliver(SERVER, Input::SetPunch(punch));
    world.run(1000);
    assert!(!world.relayed(CLIENT, SERVER) && !world.relayed(SERVER, CLIENT));
    world.circuit(CLIENT, 0, SERVER, TransportSet::NONE);
    world.run(3000);
    assert!(world.relayed(CLIENT, SERVER));
    assert_eq!(attempts(&world), 1, "and are not punched");
}

/// Two hosts that call each other over three relays, one of them so much later.
fn crossing(nat: Nat, apart: u64) -> World {
    let mut world = World::new(1, 3);
    world.latency = 50;
    for _ in 0..2 {
        world.add(nat, &[0, 1, 2], |_| {});
    }
    world.run(5000);
    for (host, other, wait) in [(CLIENT, SERVER, apart), (SERVER, CLIENT, 0)] {
        for relay in 0..3 {
            world.punch(host, relay, other, TransportSet::ALL);
        }
        world.run(wait);
    }
    world
}

fn failures(world: &World) -> Vec<RelayReason> {
    let events = world.hosts.iter().flat_map(|host| &host.events);
    let failed = events.filter_map(|(_, event)| match event {
        NetworkEvent::PunchFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    failed.collect()
}

#[test]
fn of_six_circuits_of_two_that_call_each_other_one_is_punched_and_the_first_attempt_connects() {
    for apart in (0..1000).step_by(50) {
        let mut world = crossing(PortRestricted, apart);
        world.run(4000);
        assert!(world.direct(CLIENT, SERVER), "{apart}");
        assert_eq!(failures(&world), [], "{apart}");
        let started = |(_, event): &&(u64, NetworkEvent)| matches!(event, NetworkEvent::PunchStarted { .. });
        let begun: usize = world.hosts.iter().map(|host| host.events.iter().filter(started).count()).sum();
        // What comes up first is punched at once; one that leads after it may be as well.
        assert!(begun <= 3, "{apart}: {begun}");
    }
}

#[test]
fn a_peer_that_is_called_again_and_again_over_six_circuits_hardly_ever_uses_up_the_budget() {
    let mut world = crossing(Symmetric, 0);
    for _ in 0..30 {
        for (host, other) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            for relay in 0..3 {
                world.circuit(host, relay, other, TransportSet::ALL);
            }
        }
        world.run(1000);
    }
    // Where the ends count failures differently for a moment, two circuits lead.
    let limited = failures(&world).into_iter().filter(|reason| matches!(reason, RelayReason::PunchLimited)).count();
    assert!(limited <= 2, "{limited}");
    let dialled = |(_, event): &&(u64, NetworkEvent)| matches!(event, NetworkEvent::PunchDialing { .. });
    assert!(world.hosts.iter().all(|host| host.events.iter().filter(dialled).count() >= 2));
}
