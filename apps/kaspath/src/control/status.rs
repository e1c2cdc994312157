//! `kaspath status`: asks running programs how they are doing.

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    thread::sleep,
    time::Duration,
};

use anyhow::{Result, bail};
use kaspath_control::{Answer, AskError, Client, Listed, MAX_ANSWER, Request, Status, line};
use kaspath_domain::{PeerIdentity, clean};

use super::peers::{UNEXPECTED, in_largest_unit};
use crate::{cli::StatusArgs, output};

/// Bytes of a printed line.
const MAX_LINE: usize = 512;
/// Clears a terminal's screen (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Asks at each of these sockets at which a program listens, once or again and again.
pub(crate) fn run(args: &StatusArgs, sockets: &[PathBuf], redacted: bool) -> Result<()> {
    loop {
        let mut text = ask_all(sockets, args.json)?;
        if args.watch.is_some() && !args.json && stdout().is_terminal() {
            text.insert_str(0, CLEAR);
        }
        output::answer(&text, redacted)?;
        let Some(seconds) = args.watch else { return Ok(()) };
        sleep(Duration::from_secs(seconds));
    }
}

fn ask_all(sockets: &[PathBuf], json: bool) -> Result<String> {
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for path in sockets {
        let answer = match Client::connect(path).and_then(|mut client| client.ask(&Request::Status {})) {
            Err(error @ AskError::NotRunning { .. }) => {
                missing.push(error.to_string());
                continue;
            }
            answer => answer?,
        };
        parts.push(match &answer {
            _ if json => String::from_utf8(line(&answer, MAX_ANSWER)?)?,
            Answer::Status(status) => table(status),
            _ => bail!(UNEXPECTED),
        });
    }
    if parts.is_empty() {
        bail!(
            "{}. Start one, or name its folder with --appdir or its socket with --control-socket, as it was started",
            missing.join("; ")
        );
    }
    Ok(parts.join(if json { "" } else { "\n" }))
}

/// A status for people.
fn table(status: &Status) -> String {
    let Status { role, program, peer, uptime, .. } = status;
    let mut text = vec![format!("{role} {peer}, kaspath {program}, up {}", time(*uptime))];
    text.extend(status.listening.iter().map(|address| format!("listens on {address}")));
    text.extend(status.announced.iter().map(|address| format!("announced  {address}")));
    text.extend(status.mapped.iter().map(|mapped| {
        let whose = if mapped.kaspad { " of kaspad" } else { "" };
        format!("mapped     {} to {} port {}{whose}, by {}", mapped.external, mapped.protocol, mapped.port, mapped.method)
    }));
    text.extend(status.reachability.iter().map(|known| format!("{:10} {}", known.state, known.address)));
    if status.peers.total == 0 && role != "relay" {
        text.push("no peers".to_owned());
    }
    let nat = status.nat.iter().map(|nat| format!("NAT        {}: {}", nat.mapping, nat.meaning));
    text.extend(nat);
    let seen = status.nat.iter().flat_map(|nat| &nat.observed);
    text.extend(seen.map(|seen| format!("seen as    {} by {}", seen.address, seen.by.short())));
    text.extend(status.traffic.iter().map(|traffic| {
        let rate = |rate: f64| bytes(rate.round() as u64);
        let (received, sent) = (bytes(traffic.received), bytes(traffic.sent));
        format!("received   {received} ({}/s), sent {sent} ({}/s)", rate(traffic.received_rate), rate(traffic.sent_rate))
    }));
    text.extend(status.search.iter().filter_map(|search| Some(format!("search     {}", search.lack.as_ref()?))));
    let heads = ["peer", "direction", "age", "received", "sent", "path", "agent"];
    section(&mut text, "peers", heads, &status.peers, |peer| {
        let address = || peer.address.map(|address| address.to_string()).unwrap_or_default();
        let name = peer.peer.as_ref().map_or_else(address, PeerIdentity::short);
        let agent = peer.user_agent.clone().unwrap_or_default();
        let (direction, path) = (peer.direction.to_string(), peer.path.to_string());
        [name, direction, time(peer.age), bytes(peer.received), bytes(peer.sent), path, agent]
    });
    text.extend(status.pool.iter().filter(|pool| pool.wanted > 0).map(|pool| {
        let next = pool.next_read.map(|next| format!("; the list is read again in {}", time(next))).unwrap_or_default();
        format!("relays     {} of {} held, {} known, {} in back-off{next}", pool.held, pool.wanted, pool.known, pool.back_off)
    }));
    let heads = ["peer", "kind", "age", "told by (block)"];
    section(&mut text, "peers found", heads, &status.discovered, |found| {
        let kind = if found.proven { "proven" } else { "discovered" };
        let age = found.age.map_or_else(|| "not yet".to_owned(), time);
        [found.peer.short(), kind.to_owned(), age, found.groups.join(" and ")]
    });
    let heads = ["relay", "state", "age", "round trip", "address", "", ""];
    section(&mut text, "reservations at relays", heads, &status.relays, |relay| {
        let cause = relay.cause.clone().unwrap_or_default();
        let again = relay.retry_in.map(|retry| format!("again in {}", time(retry))).unwrap_or_default();
        let (age, round_trip) = (relay.age.map(time).unwrap_or_default(), relay.round_trip.map(precise).unwrap_or_default());
        let addresses = relay.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        [relay.relay.short(), relay.state.clone(), age, round_trip, addresses, again, cause]
    });
    let moves = Listed::of(&status.moves);
    section(&mut text, "latest moves of sessions", ["peer", "ago", "from", "to", "without a path"], &moves, |moved| {
        let stall = if moved.stall > 0.0 { precise(moved.stall) } else { "never".to_owned() };
        [moved.peer.short(), time(moved.age), moved.from.to_string(), moved.to.to_string(), stall]
    });
    let punches = Listed::of(&status.punches);
    section(&mut text, "latest hole punches", ["peer", "ago", "attempt", "took", "outcome", ""], &punches, |punch| {
        let reason = punch.reason.clone().unwrap_or_default();
        let outcome = punch.transport.map_or(reason, |transport| format!("direct over {transport}"));
        let again = punch.retry_in.map(|retry| format!("again in {}", time(retry))).unwrap_or_default();
        let took = punch.duration.map(precise).unwrap_or_default();
        [punch.peer.short(), time(punch.age), punch.attempt.to_string(), took, outcome, again]
    });
    section(&mut text, "reservations of peers here", ["peer", "age"], &status.reservations, |held| {
        [held.peer.short(), time(held.age)]
    });
    section(&mut text, "circuits here", ["from", "to", "count", "age"], &status.circuits, |circuit| {
        [circuit.source.short(), circuit.destination.short(), circuit.count.to_string(), time(circuit.age)]
    });
    let counters = Listed::of(&status.counters);
    section(&mut text, "events since the start", ["", ""], &counters, |(name, count)| [(*name).clone(), count.to_string()]);
    // User agents and causes are chosen by remotes.
    text.iter().map(|line| clean(line, MAX_LINE).trim_end().to_owned() + "\n").collect()
}

/// A table whose columns are as wide as they need to be.
fn section<T, const N: usize>(
    text: &mut Vec<String>,
    what: &str,
    heads: [&str; N],
    list: &Listed<T>,
    row: impl Fn(&T) -> [String; N],
) {
    let Listed { total, shown } = list;
    if *total == 0 {
        return;
    }
    text.extend([String::new(), format!("{what}: {total}")]);
    let mut rows: Vec<[String; N]> = shown.iter().map(row).collect();
    if !shown.is_empty() && heads.iter().any(|head| !head.is_empty()) {
        rows.insert(0, heads.map(str::to_owned));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push(format!("  {}", cells.join("  ")));
    }
    if shown.len() < *total {
        text.push(format!("  and {} more", total - shown.len()));
    }
}

fn time(seconds: f64) -> String {
    in_largest_unit(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A time of which parts of a second matter.
fn precise(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        ..60.0 => format!("{seconds:.1} s"),
        _ => time(seconds),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kaspath_control::{
        DiscoveredStatus, MappedStatus, MoveStatus, NatStatus, PeerStatus, PunchStatus, RelayStatus, SearchStatus, TrafficStatus,
    };
    use kaspath_domain::{Direction, Path, RelayReason, Transport};

    use super::*;

    const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    #[test]
    fn a_table_has_each_peer_with_its_path_and_reason_on_one_line() {
        let peer = PeerStatus {
            peer: Some(B.parse().unwrap()),
            address: None,
            direction: Direction::Inbound,
            path: Path::Relayed { relay: A.parse().unwrap(), reason: RelayReason::PunchFailed { attempts: 3 } },
            reason: None,
            user_agent: Some("/x\x1b[2J\n/".into()),
            age: 90.0,
            received: 12_345,
            sent: 1,
        };
        let relay = RelayStatus {
            relay: A.parse().unwrap(),
            state: "lost".into(),
            age: Some(1.0),
            cause: Some("gone".into()),
            retry_in: Some(3.0),
            addresses: vec!["/ip4/192.0.2.9/tcp/4001".parse().unwrap()],
            round_trip: Some(0.0312),
            source: Some("list".into()),
            score: Some(0.5),
        };
        let punch = |number, transport, reason: Option<&str>| PunchStatus {
            number,
            peer: B.parse().unwrap(),
            age: 5.0,
            transport,
            reason: reason.map(str::to_owned),
            duration: Some(1.25),
            attempt: 2,
            retry_in: reason.map(|_| 7.0),
        };
        let moved = MoveStatus {
            number: 1,
            peer: B.parse().unwrap(),
            age: 4.0,
            from: peer.path.clone(),
            to: Path::Direct { transport: Transport::Tcp },
            reason: None,
            stall: 0.0,
        };
        let status = Status {
            role: "node".into(),
            program: "1".into(),
            peer: A.parse().unwrap(),
            uptime: 7_300.0,
            listening: vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()],
            announced: Vec::new(),
            mapped: vec![MappedStatus {
                external: "203.0.113.7:40000".parse().unwrap(),
                protocol: "UDP".into(),
                port: 4011,
                kaspad: false,
                method: "pcp".into(),
            }],
            reachability: vec![kaspath_control::AddressStatus {
                address: "/ip4/192.0.2.1/tcp/1".parse().unwrap(),
                state: "reachable".into(),
            }],
            nat: Some(NatStatus { mapping: "unknown".into(), meaning: "Wait.".into(), observed: Vec::new() }),
            traffic: Some(TrafficStatus { received: 12_345, sent: 1, received_rate: 99.6, sent_rate: 0.0 }),
            peers: Listed { total: 9, shown: vec![peer] },
            relays: Listed::of([relay]),
            punches: vec![punch(2, Some(Transport::Quic), None), punch(1, None, Some("no dial\x1b came through"))],
            moves: vec![moved],
            discovered: Listed::of([DiscoveredStatus {
                peer: B.parse().unwrap(),
                proven: false,
                groups: vec!["192.0.0.0/16".into()],
                age: Some(9.0),
            }]),
            search: Some(SearchStatus { asked: 1, told: 0, lack: Some("nobody\nis found".into()) }),
            pool: None,
            reservations: Listed::of([]),
            circuits: Listed::of([]),
            counters: BTreeMap::from([("punch-failed".into(), 3)]),
        };
        let text = table(&status);
        assert!(
            text.starts_with(&format!(
                "node {A}, kaspath 1, up 2 h\nlistens on /ip4/192.0.2.1/tcp/1\nmapped     203.0.113.7:40000 to UDP port 4011, by pcp\nreachable  /ip4/192.0.2.1/tcp/1\n"
            )),
            "{text}"
        );
        let line = text.lines().find(|line| line.contains("nc6iDEp")).unwrap();
        for part in ["inbound", "2 min", "12.3 kB", "1 B", "relayed through 4kx6nXTN (3 punches failed", "/x[2J /"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        for part in [
            "peers: 9\n",
            "  and 8 more\n",
            "lost   1 s  31 ms       /ip4/192.0.2.9/tcp/4001  again in 3 s  gone",
            "  punch-failed  3\n",
            "search     nobody is found\n",
            "discovered  9 s  192.0.0.0/16\n",
            "mapped     203.0.113.7:40000 to UDP port 4011, by pcp\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.replace('\n', "").chars().any(char::is_control), "{text:?}");
    }
}
