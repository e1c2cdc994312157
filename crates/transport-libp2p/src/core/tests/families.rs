//! Hosts of both families, and hosts in one LAN.

use kaspath_domain::{RelayReason, TransportAddress, TransportSet};

use super::{
    identity,
    sites::{
        Nat::{self, PortRestricted, Symmetric},
        Site,
    },
    world::World,
};
use crate::{
    NetworkEvent,
    core::{Input, RelaySays},
};

const SERVER: usize = 0;
const CLIENT: usize = 1;
const V6: Site = Site { lan: None, no_lan: false, no_ipv4: true, ipv6: true };
const BOTH: Site = Site { lan: None, no_lan: false, no_ipv4: false, ipv6: true };
const V4: Site = Site { lan: None, no_lan: false, no_ipv4: false, ipv6: false };
const LAN: Site = Site { lan: Some(1), no_lan: false, no_ipv4: false, ipv6: false };

/// A server with a reservation and a client; the relay has IPv6 if both are to reach it.
fn pair((client, client_nat): (Site, Nat), (server, server_nat): (Site, Nat), relay_has_ipv6: bool) -> World {
    let mut world = World::new(1, 1);
    world.relays[0].has_ipv6 = relay_has_ipv6;
    world.add_at(server, server_nat, &[0]);
    world.add_at(client, client_nat, &[]);
    world.run(3000);
    world
}

/// Where a host has dialled the other.
fn dialled(world: &World, host: usize) -> Vec<TransportAddress> {
    let theirs = world.hosts[host].events.iter().filter_map(|(_, event)| match event {
        NetworkEvent::PunchDialing { theirs, .. } => Some(theirs),
        _ => None,
    });
    let direct = theirs.flatten().filter_map(|locator| locator.address.direct().cloned());
    direct.collect()
}

fn is_private(address: &TransportAddress) -> bool {
    address.socket_addr().is_some_and(|socket| !kaspath_domain::is_public(socket.ip()))
}

fn failure(world: &World, host: usize) -> Option<RelayReason> {
    world.hosts[host].events.iter().rev().find_map(|(_, event)| match event {
        NetworkEvent::PunchFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn firewalls_of_ipv6_are_punched_whatever_families_the_relay_has() {
    for (client, server, relay_has_ipv6) in
        [(V6, V6, true), (V6, BOTH, true), (BOTH, V6, true), (BOTH, BOTH, true), (BOTH, BOTH, false)]
    {
        for transports in [TransportSet::TCP, TransportSet::QUIC, TransportSet::ALL] {
            // Over IPv4 nothing passes between these.
            let mut world = pair((client, Symmetric), (server, Symmetric), relay_has_ipv6);
            world.punch(CLIENT, 0, SERVER, transports);
            world.run(9000);
            let what = format!("{client:?} {server:?} {relay_has_ipv6} {transports:?}");
            assert!(world.direct(CLIENT, SERVER) && world.direct(SERVER, CLIENT), "{what}: {:?}", failure(&world, SERVER));
        }
    }
}

#[test]
fn two_families_are_tried_at_once_and_ipv4_is_enough() {
    let mut world = pair((BOTH, PortRestricted), (V4, PortRestricted), true);
    world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
    world.run(9000);
    assert!(world.direct(CLIENT, SERVER));
    assert!(dialled(&world, SERVER).iter().all(|address| address.socket_addr().unwrap().is_ipv4()), "it has no IPv6");
}

#[test]
fn peers_without_a_common_family_stay_on_the_relay_and_say_so() {
    for (client, server) in [(V4, V6), (V6, V4)] {
        let mut world = pair((client, PortRestricted), (server, PortRestricted), true);
        world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
        world.run(9000);
        assert!(world.relayed(CLIENT, SERVER) && !world.direct(CLIENT, SERVER));
        assert_eq!(failure(&world, SERVER), Some(RelayReason::NoCommonFamily));
        assert_eq!(dialled(&world, CLIENT), [], "nothing is dialled in vain");
    }
}

#[test]
fn two_hosts_in_one_lan_connect_in_it() {
    for transports in [TransportSet::TCP, TransportSet::QUIC, TransportSet::ALL] {
        for nat in [PortRestricted, Symmetric] {
            let mut world = pair((LAN, nat), (LAN, nat), false);
            world.punch(CLIENT, 0, SERVER, transports);
            world.run(9000);
            assert!(world.direct(CLIENT, SERVER), "{transports:?} {nat:?}: {:?}", failure(&world, SERVER));
            assert!(dialled(&world, SERVER).iter().any(is_private));
        }
    }
}

#[test]
fn nothing_private_is_offered_or_dialled_without_the_relays_word_or_where_it_is_off() {
    for off in [SERVER, CLIENT] {
        let site = |host| (Site { no_lan: host == off, ..LAN }, PortRestricted);
        let mut world = pair(site(CLIENT), site(SERVER), false);
        world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
        // An attempt takes 10.5 s.
        world.run(12_000);
        assert!(!world.direct(CLIENT, SERVER));
        // The client's private address is the evidence, where it is offered.
        let expected =
            if off == SERVER { RelayReason::SharedLan { attempts: 1 } } else { RelayReason::SharedNat { attempts: 1 } };
        assert_eq!(failure(&world, SERVER), Some(expected));
        assert!(!dialled(&world, 1 - off).iter().any(is_private), "it was offered none");
        assert!(!dialled(&world, off).iter().any(is_private), "nor does it dial any");
    }
    // A relay of another kind does not say so.
    let mut world = pair((LAN, PortRestricted), (LAN, PortRestricted), false);
    world.relays[0].attests = Some(false);
    world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
    world.run(12_000);
    assert!(!world.direct(CLIENT, SERVER));
    assert!(![SERVER, CLIENT].iter().any(|host| dialled(&world, *host).iter().any(is_private)));
}

#[test]
fn a_relay_that_attests_everybody_has_nothing_dialled_in_our_lan() {
    let mut world = World::new(1, 1);
    world.relays[0].attests = Some(true);
    world.add_at(LAN, PortRestricted, &[0]);
    // From elsewhere, though its LAN looks the same.
    world.add_at(Site { lan: Some(2), ..LAN }, PortRestricted, &[]);
    world.run(3000);
    world.punch(CLIENT, 0, SERVER, TransportSet::ALL);
    world.run(9000);
    assert!(world.direct(CLIENT, SERVER), "over their NATs");
    assert!(![SERVER, CLIENT].iter().any(|host| dialled(&world, *host).iter().any(is_private)));
}

#[test]
fn a_relays_word_on_another_peer_does_not_count() {
    let mut world = pair((LAN, PortRestricted), (LAN, PortRestricted), false);
    world.relays[0].attests = Some(false);
    world.circuit(CLIENT, 0, SERVER, TransportSet::NONE);
    world.run(3000);
    for host in [SERVER, CLIENT] {
        let control = world.hosts[host].controls[&0];
        world.deliver(host, Input::RelayHeard { control, says: RelaySays::Neighbour(identity(77)) });
    }
    world.run(60_000);
    assert!(world.relayed(CLIENT, SERVER) && !world.direct(CLIENT, SERVER));
    assert!(!dialled(&world, SERVER).iter().any(is_private));
}
