//! `kaspath gateway` without a kaspad and with one.

mod support;

use std::net::TcpListener;

use kaspath_kaspa_adaptor::KaspaNetwork;
use support::Running;

#[test]
fn a_gateway_without_kaspad_says_so_and_what_to_do_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kaspad = address.to_string();
    let args = [
        "gateway",
        "--log-format",
        "json",
        "-l",
        "/ip4/127.0.0.1/tcp/0",
        "--kaspad",
        &kaspad,
        "--kaspad-rpc",
        "off",
        "-n",
        "simnet",
    ];
    let running = Running::start(&args, dir.path());
    let missing = running.wait_event("kaspad-unreachable");
    assert_eq!(missing["address"], kaspad);
    let _kaspad = TcpListener::bind(address).unwrap();
    running.wait_event("kaspad-reachable");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_gateway_of_every_network_starts_with_the_protocol_of_its_network() {
    for network in KaspaNetwork::ALL {
        let dir = tempfile::tempdir().unwrap();
        let name = network.to_string();
        let flags = ["-l", "/ip4/127.0.0.1/tcp/0", "--kaspad-rpc", "off", "--log-format", "json"];
        let running = Running::start(&[&["gateway", "-n", &name], &flags[..]].concat(), dir.path());
        running.wait_event("started");
        assert_eq!(running.stop(), 0);
    }
}
