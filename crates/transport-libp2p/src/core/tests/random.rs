//! Many small worlds by seed: nothing leaks, and no late answer counts.
//!
//! `KASPATH_SEEDS` is how many, `KASPATH_SEED` the first: a failure names its seed.

use std::{env, panic::catch_unwind, thread};

use kaspath_domain::{RelayAddress, TransportSet};

use super::{
    sites::Nat,
    world::{Then, World},
};
use crate::{PunchConfig, core::Input};

const SEEDS: u64 = 10_000;
/// Longer than anything is kept that nobody needs.
const QUIET: u64 = 3_600_000;
const SETS: [TransportSet; 4] = [TransportSet::NONE, TransportSet::TCP, TransportSet::QUIC, TransportSet::ALL];

fn variable(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn whatever_happens_nothing_leaks_and_no_late_answer_counts() {
    let (first, seeds) = (variable("KASPATH_SEED", 1), variable("KASPATH_SEEDS", SEEDS));
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first + thread..first + seeds).step_by(threads as usize) {
                    catch_unwind(|| play(seed)).unwrap_or_else(|_| panic!("failed: KASPATH_SEED={seed} KASPATH_SEEDS=1"));
                }
            });
        }
    });
}

fn play(seed: u64) {
    let mut world = World::new(seed, 2);
    world.latency = 1 + world.chance.below(150);
    world.loss = [0, 0, 100, 400][world.chance.below(4) as usize];
    for reserves in [&[0][..], &[0, 1], &[]] {
        let nat = [Nat::FullCone, Nat::PortRestricted, Nat::Symmetric][world.chance.below(3) as usize];
        let punch = SETS[world.chance.below(4) as usize];
        let wanted = 1 + world.chance.below(2) as usize;
        let host = world.add(nat, reserves, |config| {
            config.punch.transports = punch;
            config.wanted_reservations = wanted;
        });
        world.hosts[host].punches = world.chance.below(8) > 0;
    }
    for _ in 0..24 {
        let wait = [1, 50, 400, 3000][world.chance.below(4) as usize];
        let wait = world.chance.below(wait) + 1;
        world.run(wait);
        act(&mut world);
    }
    settle(&mut world);
}

fn act(world: &mut World) {
    let (host, peer) = (world.chance.below(3) as usize, world.chance.below(3) as usize);
    let (relay, set) = (world.chance.below(2) as usize, SETS[world.chance.below(4) as usize]);
    match world.chance.below(20) {
        0..=3 if host != peer => drop(world.punch(host, relay, peer, set)),
        4 | 5 if host != peer => drop(world.circuit(host, relay, peer, set)),
        6 if host != peer => {
            let (to, at) = (world.hosts[peer].id.clone(), world.address_of(peer, kaspath_domain::Transport::Tcp));
            world.ask(host, Then::Nothing, |waiter| Input::Connect { waiter, peer: to, addresses: vec![at] });
        }
        7 => {
            // A relay that is not there, by a name that does not resolve.
            let via = super::address("/dns/relay.example/tcp/4001");
            let nowhere = RelayAddress { relay: super::identity(3000), via };
            world.ask(host, Then::Nothing, |waiter| Input::ConnectRelay { waiter, relay: nowhere, transports: set });
        }
        8 | 9 => {
            let waiting: Vec<_> = world.hosts[host].waiting.keys().copied().collect();
            if !waiting.is_empty() {
                let waiter = waiting[world.chance.below(waiting.len() as u64) as usize];
                world.give_up(host, waiter);
            }
        }
        10 => {
            if world.relays[relay].up {
                world.stop_relay(relay);
            } else {
                world.relays[relay].up = true;
            }
        }
        11 | 12 => {
            let live: Vec<_> = world.hosts[host].live.keys().copied().collect();
            if !live.is_empty() {
                let id = live[world.chance.below(live.len() as u64) as usize];
                if world.chance.below(4) == 0 { world.cut(host, id) } else { world.close(host, id) }
            }
        }
        13 => world.deliver(host, Input::SetPunch(PunchConfig { transports: set, ..PunchConfig::default() })),
        14 => set_relay(world, host, relay, true),
        15 => set_relay(world, host, relay, false),
        17 | 18 => {
            let live: Vec<_> = world.hosts[host].live.keys().copied().collect();
            if !live.is_empty() {
                let id = live[world.chance.below(live.len() as u64) as usize];
                let input = match world.chance.below(4) {
                    0 => Input::Recovered { id },
                    1 if world.chance.below(2) == 0 => Input::Left { id },
                    1 => Input::Dead { id },
                    _ => Input::Suspect { id },
                };
                world.deliver(host, input);
            }
        }
        16 => world.relays[relay].grants = !world.relays[relay].grants,
        _ => world.relays[relay].mute = !world.relays[relay].mute,
    }
    too_late(world, host);
}

fn set_relay(world: &mut World, host: usize, relay: usize, add: bool) {
    let now = super::at(world.now);
    let address = RelayAddress { relay: world.relays[relay].id.clone(), via: world.relays[relay].tcp() };
    if add {
        world.hosts[host].core.add_relay(&address.relay, vec![address.via], now).unwrap();
    } else {
        world.hosts[host].core.remove_relay(&address.relay, now);
    }
    world.deliver(host, Input::Elapsed);
}

/// Last words on attempts that are over come once more, and change nothing.
fn too_late(world: &mut World, host: usize) {
    let now = super::at(world.now);
    world.deliver(host, Input::Elapsed);
    let host = &mut world.hosts[host];
    for input in std::mem::take(&mut host.stale) {
        let before = (host.core.held(), host.core.deadline());
        host.core.handle(input.clone(), now);
        let after = (host.core.held(), host.core.deadline());
        let output = host.core.poll();
        assert!(output.is_none(), "{input:?} led to {output:?}");
        assert_eq!(before, after, "{input:?}");
    }
}

/// Everything ends: callers, relays, connections. Then nothing is left.
fn settle(world: &mut World) {
    for host in 0..world.hosts.len() {
        let waiting: Vec<_> = world.hosts[host].waiting.keys().copied().collect();
        waiting.into_iter().for_each(|waiter| world.give_up(host, waiter));
        (0..world.relays.len()).for_each(|relay| set_relay(world, host, relay, false));
    }
    // What is under way may still come to something.
    world.run(30_000);
    for host in 0..world.hosts.len() {
        let live: Vec<_> = world.hosts[host].live.keys().copied().collect();
        live.into_iter().for_each(|id| world.close(host, id));
        let waiting: Vec<_> = world.hosts[host].waiting.keys().copied().collect();
        waiting.into_iter().for_each(|waiter| world.give_up(host, waiter));
    }
    world.run(QUIET);
    for host in &world.hosts {
        assert_eq!(host.core.held(), 0, "waiters, attempts and leases");
        assert_eq!(host.core.deadline(), None);
        assert!(host.held.is_empty(), "links are held: {:?}", host.held);
        assert!(host.requests.is_empty() && host.exchanges.is_empty() && host.lookups.is_empty());
    }
}
