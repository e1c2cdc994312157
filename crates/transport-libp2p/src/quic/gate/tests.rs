use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { unvalidated: 3, validated: 4, per_ip: 2, per_prefix: 3, connections: 100 };

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn initial(remote: &str, validated: bool) -> Initial {
    Initial { remote: remote.parse().unwrap(), validated }
}

fn accept(verdict: Verdict) -> Permit {
    let Verdict::Accept(permit) = verdict else { panic!("{verdict:?}") };
    permit
}

#[test]
fn a_retry_is_asked_for_only_when_unvalidated_handshakes_are_many() {
    let mut gate = Gate::new(LIMITS);
    let mut permits: Vec<_> =
        ["192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"].map(|ip| accept(gate.judge(initial(ip, false), at(0)))).into();
    let late = initial("233.252.0.1:1", false);
    assert!(matches!(gate.judge(late, at(0)), Verdict::Retry));
    // The same client after its Retry.
    let _validated = accept(gate.judge(Initial { validated: true, ..late }, at(0)));
    drop(permits.remove(0));
    accept(gate.judge(late, at(0)));
}

#[test]
fn a_forged_address_takes_no_slot_of_its_owner() {
    let mut gate = Gate::new(Limits { unvalidated: 100, per_ip: 2, ..LIMITS });
    let _held: Vec<_> = (0..10).map(|_| gate.judge(initial("192.0.2.1:1", false), at(0))).collect();
    accept(gate.judge(initial("192.0.2.1:1", true), at(0)));
}

#[test]
fn one_address_or_prefix_does_not_take_all_slots() {
    let mut gate = Gate::new(LIMITS);
    let mut held =
        vec![accept(gate.judge(initial("192.0.2.1:1", true), at(0))), accept(gate.judge(initial("192.0.2.1:2", true), at(0)))];
    assert!(matches!(gate.judge(initial("192.0.2.1:3", true), at(0)), Verdict::Ignore));
    held.push(accept(gate.judge(initial("192.0.2.2:1", true), at(0))));
    assert!(matches!(gate.judge(initial("192.0.2.3:1", true), at(0)), Verdict::Ignore));
    held.push(accept(gate.judge(initial("192.0.3.1:1", true), at(0))));
    // All four are taken.
    assert!(matches!(gate.judge(initial("198.51.100.1:1", true), at(0)), Verdict::Ignore));
    // An address of IPv6 counts as well.
    drop(held.remove(0));
    drop(held.remove(0));
    held.push(accept(gate.judge(initial("[2001:db8:1:2::3]:1", true), at(0))));
}

#[test]
fn who_is_punched_passes_a_closed_gate_twice_and_not_for_ever() {
    let mut gate = Gate::new(Limits { unvalidated: 0, ..LIMITS });
    let peer = initial("192.0.2.1:7", false);
    assert!(matches!(gate.judge(peer, at(0)), Verdict::Retry));
    gate.expect(peer.remote, Duration::from_secs(5), at(0));
    // Another port of the address is another remote.
    assert!(matches!(gate.judge(initial("192.0.2.1:8", false), at(1)), Verdict::Retry));
    let _first = accept(gate.judge(peer, at(1)));
    let _second = accept(gate.judge(peer, at(1)));
    assert!(matches!(gate.judge(peer, at(1)), Verdict::Retry));
    gate.expect(peer.remote, Duration::from_secs(5), at(2));
    assert!(matches!(gate.judge(peer, at(7)), Verdict::Retry));
}

#[test]
fn an_established_connection_holds_no_handshake_but_counts_in_all() {
    let mut gate = Gate::new(Limits { connections: 3, ..LIMITS });
    let permits: Vec<_> = (1..4)
        .map(|port| {
            let mut permit = accept(gate.judge(Initial { remote: ([192, 0, 2, 1], port).into(), validated: true }, at(0)));
            permit.establish();
            permit
        })
        .collect();
    assert!(matches!(gate.judge(initial("198.51.100.1:1", true), at(0)), Verdict::Refuse));
    drop(permits);
    accept(gate.judge(initial("198.51.100.1:1", true), at(0)));
}

#[test]
fn handshakes_that_fail_at_once_are_paced() {
    let mut gate = Gate::new(LIMITS);
    // One a millisecond for a second, each given up before the next.
    let mut accepted = |prefix: u8, validated, from: u64| {
        let mut accepted = 0;
        for millis in from..from + 1000 {
            let now = Moment::after_start(Duration::from_millis(millis));
            let verdict = gate.judge(Initial { remote: ([10, 0, prefix, 1], 1).into(), validated }, now);
            accepted += i32::from(matches!(verdict, Verdict::Accept(_)));
        }
        accepted
    };
    assert!((195..205).contains(&accepted(1, false, 0)));
    assert!((95..105).contains(&accepted(1, true, 0)));
    // Others are let in meanwhile.
    assert!((95..105).contains(&accepted(2, true, 0)));
    assert!((45..55).contains(&accepted(1, true, 1000)));
}

#[test]
fn what_is_remembered_of_others_is_bounded() {
    let mut gate = Gate::new(LIMITS);
    for n in 0..5000u32 {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + (n << 8));
        gate.expect((ip, 1).into(), Duration::from_secs(5), at(0));
        gate.judge(Initial { remote: (ip, 2).into(), validated: true }, at(u64::from(n)));
    }
    assert_eq!((gate.expected.len(), gate.prefixes.len()), (MAX_EXPECTED, MAX_PREFIXES));
    // When these have expired, others are expected again.
    gate.expect("192.0.2.1:1".parse().unwrap(), Duration::from_secs(5), at(6));
    assert_eq!(gate.expected.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Initial { ip: u8, net: u8, port: u16, validated: bool },
    Expect { ip: u8, net: u8, port: u16 },
    Establish(usize),
    Release(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, 0..4u8, 1..4u16, any::<bool>())
            .prop_map(|(ip, net, port, validated)| Step::Initial { ip, net, port, validated }),
        1 => (0..4u8, 0..4u8, 1..4u16).prop_map(|(ip, net, port)| Step::Expect { ip, net, port }),
        1 => any::<usize>().prop_map(Step::Establish),
        2 => any::<usize>().prop_map(Step::Release),
        1 => (0..10u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_strangers_do_the_bounds_hold_and_an_honest_address_gets_in(steps in proptest::collection::vec(step(), 1..300)) {
        let mut gate = Gate::new(LIMITS);
        let (mut permits, mut now) = (Vec::new(), at(0));
        for step in steps {
            // Slow enough for the honest client's rate.
            now = now + Duration::from_millis(20);
            match step {
                Step::Initial { ip, net, port, validated } => {
                    let remote: SocketAddr = ([10, 0, net, ip], port).into();
                    match gate.judge(Initial { remote, validated }, now) {
                        Verdict::Accept(permit) => permits.push((remote.ip(), validated, permit)),
                        Verdict::Retry => prop_assert!(!validated),
                        Verdict::Ignore => prop_assert!(validated),
                        Verdict::Refuse => prop_assert!(permits.len() >= LIMITS.connections),
                    }
                }
                Step::Expect { ip, net, port } => {
                    gate.expect(([10, 0, net, ip], port).into(), Duration::from_secs(5), now);
                }
                Step::Establish(n) if !permits.is_empty() => {
                    let n = n % permits.len();
                    permits[n].2.establish();
                }
                Step::Release(n) if !permits.is_empty() => drop(permits.swap_remove(n % permits.len())),
                Step::Wait(seconds) => now = now + Duration::from_secs(seconds),
                Step::Establish(_) | Step::Release(_) => {}
            }
            prop_assert_eq!(gate.connections.taken(), permits.len());
            prop_assert!(permits.len() <= LIMITS.connections);
            let under_way = |validated| {
                let those = permits.iter().filter(move |(_, of, permit)| *of == validated && permit.handshake.is_some());
                those.map(|(ip, ..)| *ip).collect::<Vec<_>>()
            };
            for (validated, slots, limit) in
                [(true, &gate.validated, LIMITS.validated), (false, &gate.unvalidated, LIMITS.unvalidated)]
            {
                let ips: Vec<IpAddr> = under_way(validated);
                prop_assert_eq!(ips.len(), slots.taken());
                prop_assert!(ips.len() <= limit);
                prop_assert!(ips.iter().all(|ip| ips.iter().filter(|other| *other == ip).count() <= LIMITS.per_ip));
            }
            // Whatever addresses are forged, only validated handshakes keep a client out
            // that answers a Retry elsewhere.
            if gate.validated.taken() < LIMITS.validated && permits.len() < LIMITS.connections {
                accept(gate.judge(initial("198.51.100.1:1", true), now));
            }
        }
    }
}
