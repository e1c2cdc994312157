//! Metrics of programs that run: a relay, and two nodes with a session over it.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use support::{DEADLINE, Running, free_port, kaspath, wait_until};

const NODE: [&str; 8] = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json", "--web-listen", "127.0.0.1:0"];

/// The metrics that a program gives now.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.to_owned()
}

/// The value of a series, whose labels are in any order.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let is = |series: &str| match series.split_once('{') {
        Some((other, rest)) => {
            other == name && rest.matches('=').count() == labels.len() && labels.iter().all(|label| rest.contains(label.as_str()))
        }
        None => series == name && labels.is_empty(),
    };
    let found = text.lines().filter_map(|line| line.rsplit_once(' ')).find(|(series, _)| is(series));
    found.unwrap_or_else(|| panic!("{name} {labels:?} in {text}")).1.parse().unwrap()
}

/// All sessions, whatever their path.
fn sessions(text: &str) -> f64 {
    let values = text.lines().filter(|line| line.starts_with("kaspath_sessions{")).map(|line| line.rsplit_once(' ').unwrap().1);
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// A program that runs, its peer id, and where it is scraped.
fn started(args: &[&str], dir: &std::path::Path) -> (Running, String, String) {
    let program = Running::start(args, dir);
    let peer = program.wait_event("started")["peer"].as_str().unwrap().to_owned();
    let address = program.wait_event("web-listening")["address"].as_str().unwrap().to_owned();
    (program, peer, address)
}

#[test]
fn a_relay_and_two_nodes_are_scraped() {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["relay", "server", "client"].map(|name| root.path().join(name));
    let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let id = String::from_utf8(kaspath(&["id", "--relay"], &dirs[0]).output().unwrap().stdout).unwrap();
    let relay_address = format!("{listen}/p2p/{}", id.trim().rsplit(' ').next().unwrap());

    let (server, server_id, at_server) = started(&[&["server", "--relay", &relay_address][..], &NODE].concat(), &dirs[1]);
    let text = scrape(&at_server);
    assert_eq!(value(&text, "kaspath_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("role", "node")]), 1.0);
    assert_eq!(value(&text, "libp2p_autorelay_status", &[]), 1.0);
    assert_eq!(value(&text, "libp2p_autorelay_desired_reservations", &[]), 3.0, "as many as the status says are wanted");
    assert_eq!(value(&text, "libp2p_relaysvc_status", &[]), 0.0, "nobody has reached it");
    assert_eq!(value(&text, "kaspath_relay_limit", &[("resource", "reservations")]), 32.0, "what it would give");
    wait_until("a failed request to a relay that is not there", || {
        value(&scrape(&at_server), "kaspath_reservations_lost_total", &[("relay", "1"), ("cause", "unreachable")]) >= 1.0
    });

    let (relay, _, at_relay) =
        started(&["relay", "-l", &listen, "--log-format", "json", "--web-listen", "127.0.0.1:0"], &dirs[0]);
    wait_until("a reservation", || value(&scrape(&at_server), "kaspath_reservation_held", &[("relay", "1")]) == 1.0);
    let text = scrape(&at_relay);
    assert_eq!(value(&text, "libp2p_relaysvc_status", &[]), 1.0);
    assert_eq!(value(&text, "libp2p_relaysvc_reservations_total", &[("type", "opened")]), 1.0);
    assert_eq!(value(&text, "kaspath_relay_used", &[("resource", "reservations")]), 1.0);
    assert_eq!(value(&text, "kaspath_relay_used", &[("resource", "circuits")]), 0.0);
    assert!(value(&text, "kaspath_connections", &[("path", "direct-tcp")]) >= 1.0);
    assert!(!text.contains("kaspath_sessions") && !text.contains("12D3KooW"), "{text}");

    let remote = format!("{relay_address}/p2p-circuit/p2p/{server_id}");
    let args = [&["client", "--remote", &remote, "--policy", "relay-only"][..], &NODE].concat();
    let (client, _, at_client) = started(&args, &dirs[2]);
    client.wait_event("peer-ready");
    server.wait_event("peer-ready");
    let text = scrape(&at_client);
    assert_eq!(value(&text, "kaspath_sessions", &[("path", "relay"), ("reason", "policy")]), 1.0);
    assert_eq!(value(&text, "kaspath_sessions_began_total", &[("path", "relay")]), 1.0);
    assert_eq!(value(&text, "kaspath_session_time_to_usable_seconds_count", &[("path", "relay")]), 1.0);
    let seconds = value(&text, "kaspath_session_time_to_usable_seconds_sum", &[("path", "relay")]);
    assert!(seconds > 0.0 && seconds < DEADLINE.as_secs_f64(), "{seconds}");
    assert_eq!(value(&text, "kaspath_kaspa_handshakes_total", &[("outcome", "ready")]), 1.0);
    assert!(value(&text, "process_resident_memory_bytes", &[]) > 1e6 && value(&text, "process_open_fds", &[]) > 5.0);
    let text = scrape(&at_server);
    // The server would punch, so its reason is another one.
    assert_eq!(sessions(&text), 1.0);
    assert_eq!(value(&text, "kaspath_relay_sessions", &[("relay", "1")]), 1.0);
    assert_eq!(value(&text, "kaspath_relay_circuits", &[("relay", "1")]), 1.0);
    assert!(!text.contains("12D3KooW"), "{text}");
    let text = scrape(&at_relay);
    assert_eq!(value(&text, "kaspath_relay_used", &[("resource", "circuits")]), 1.0);
    assert!(value(&text, "libp2p_relaysvc_data_transferred_bytes_total", &[]) > 100.0, "bytes of the open circuit");

    assert_eq!(client.stop(), 0);
    wait_until("no session any more", || sessions(&scrape(&at_server)) == 0.0);
    wait_until("no circuit any more", || {
        let text = scrape(&at_relay);
        value(&text, "kaspath_relay_used", &[("resource", "circuits")]) == 0.0
            && value(&text, "libp2p_relaysvc_connections_total", &[("type", "closed")]) == 1.0
    });
    let text = scrape(&at_relay);
    assert_eq!(value(&text, "libp2p_relaysvc_connection_duration_seconds_count", &[]), 1.0);
    assert_eq!([server.stop(), relay.stop()], [0, 0]);
}
