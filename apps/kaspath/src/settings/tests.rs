use std::collections::HashMap;

use super::*;

const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

pub(crate) fn settings(args: &[&str], environment: &[(&str, &str)]) -> Result<Settings> {
    let cli = Cli::try_parse_from([&["kaspath"], args].concat()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let variables: HashMap<_, _> = environment.iter().copied().collect();
    resolve(
        &cli.command,
        |name| if name == "HOME" { Some("/home/u".into()) } else { variables.get(name).map(|v| (*v).to_owned()) },
    )
}

fn error(args: &[&str], environment: &[(&str, &str)]) -> String {
    format!("{:#}", settings(args, environment).err().expect("an error"))
}

fn relay_text() -> String {
    format!("/ip4/203.0.113.1/tcp/4001/p2p/{A}")
}

#[test]
fn defaults_are_a_free_port_of_our_own_and_a_key_under_home() {
    let settings = settings(&["server"], &[]).unwrap();
    assert_eq!(settings.network_config.listen.len(), 2);
    assert_eq!(settings.identity, PathBuf::from("/home/u/.kaspath/node.key"));
    assert_eq!(settings.node.unwrap().network, KaspaNetwork::Mainnet);
}

#[test]
fn the_environment_is_read_with_commas_and_semicolons_in_both_spellings() {
    let relays = format!("{};/ip4/203.0.113.1/udp/4001/quic-v1/p2p/{A}", relay_text());
    let remote = format!("{}/p2p-circuit", relay_text());
    let environment = [
        ("LIBP2P_LISTEN_MULTIADDRS", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2"),
        ("LIBP2P_RELAY_MULTIADDR", relays.as_str()),
        ("LIBP2P_REMOTE_MULTIADDR", remote.as_str()),
        ("LIBP2P_REMOTE_PEER_ID", B),
    ];
    let settings = settings(&["client"], &environment).unwrap();
    assert_eq!(settings.network_config.listen.len(), 2);
    assert_eq!(settings.network_config.relays.len(), 2);
    assert_eq!(settings.node.unwrap().remotes[0].to_string(), format!("{remote}/p2p/{B}"));
}

#[test]
fn flags_come_before_the_environment_and_the_environment_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, "listen = [\"/ip4/127.0.0.1/tcp/3\"]\nnetwork = \"simnet\"\n").unwrap();
    let file = ["-c", path.to_str().unwrap()];
    let environment = [("LIBP2P_LISTEN_MULTIADDRS", "/ip4/127.0.0.1/tcp/2")];
    let port = |args: &[&str], environment: &[(&str, &str)]| {
        settings(&[&["server"], args].concat(), environment).unwrap().network_config.listen[0].to_string()
    };
    assert_eq!(port(&file, &[]), "/ip4/127.0.0.1/tcp/3");
    assert_eq!(port(&file, &environment), "/ip4/127.0.0.1/tcp/2");
    assert_eq!(port(&[&file[..], &["--listen", "/ip4/127.0.0.1/tcp/1"]].concat(), &environment), "/ip4/127.0.0.1/tcp/1");
    assert_eq!(settings(&[&["server"], &file[..]].concat(), &[]).unwrap().node.unwrap().network, KaspaNetwork::Simnet);
}

#[test]
fn a_circuit_to_listen_on_keeps_the_free_ports() {
    let circuit = format!("{}/p2p-circuit", relay_text());
    let settings = settings(&["server"], &[("LIBP2P_LISTEN_MULTIADDRS", &circuit)]).unwrap();
    assert_eq!(settings.network_config.listen.len(), 3);
}

#[test]
fn mistakes_name_their_place_and_their_cure() {
    assert!(error(&["client"], &[]).contains("--remote"));
    assert!(error(&["client", "--remote", &format!("{}/p2p-circuit", relay_text())], &[]).contains("--remote-peer-id"));
    assert!(error(&["server", "--relay", "/ip4/1.2.3.4/tcp/99999"], &[]).contains("99999"));
    assert!(error(&["server"], &[("LIBP2P_RELAY_MULTIADDRS", "/ip4/x/tcp/1")]).contains("LIBP2P_RELAY_MULTIADDRS"));
    assert!(error(&["server", "-c", "/nonexistent.toml"], &[]).contains("/nonexistent.toml"));
    assert!(error(&["relay", "--max-circuit-duration", "0"], &[]).contains("every circuit at once"));
}

#[test]
fn an_unknown_key_in_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, "lisen = []\n").unwrap();
    let error = error(&["server", "-c", path.to_str().unwrap()], &[]);
    assert!(error.contains("lisen") && error.contains("did you mean `listen`?") && error.contains("line 1"), "{error}");
}

#[test]
fn values_have_units_and_reach_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    let text = "policy = \"adaptive\"\n[timing]\npunch = \"20s\"\nrelay-after = 3\n[inbound]\nper-relay = 2\n[relay-server]\nmax-circuit-bytes = \"10GiB\"\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let policy = settings(&["server", "-c", path], &[]).unwrap().node.unwrap().policy;
    assert_eq!((policy.timing.punch.as_secs(), policy.timing.relay_after.as_secs(), policy.inbound.per_relay), (20, 3, 2));
    let relay = settings(&["relay", "-c", path], &[]).unwrap().network_config.relay_server.unwrap();
    assert_eq!(relay.max_circuit_bytes, 10 << 30);
    std::fs::write(path, "[timing]\npunch = \"soon\"\n").unwrap();
    assert!(error(&["server", "-c", path], &[]).contains("24h"));
}

#[test]
fn the_example_file_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kaspath.example.toml");
    let node = settings(&["server", "-c", path], &[]).unwrap();
    assert_eq!((node.network_config.listen.len(), node.network_config.relays.len()), (2, 1));
    let policy = node.node.unwrap().policy;
    assert_eq!(
        format!("{policy:?}"),
        format!("{:?}", kaspath_policy::StrategyConfig::new(policy.name)),
        "these are the defaults"
    );
    // What it says of the relay's limits are the defaults.
    let relay = settings(&["relay", "-c", path], &[]).unwrap();
    let (given, default) = (relay.network_config.relay_server.unwrap(), RelayServerConfig::default());
    assert_eq!(format!("{given:?}"), format!("{default:?}"));
}

#[test]
fn connections_are_limited_by_the_file_over_the_defaults_of_the_role() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, "[connections]\ninbound = 100\nburst-per-address = 7\n[inbound]\nper-address = 30\n").unwrap();
    let limits = |role: &str| settings(&[role, "-c", path.to_str().unwrap()], &[]).unwrap().network_config.limits;
    assert_eq!((limits("relay").inbound, limits("relay").inbound_per_address, limits("relay").burst_per_address), (100, 64, 7));
    assert_eq!((limits("gateway").inbound, limits("gateway").inbound_per_address), (100, 120));
    std::fs::write(&path, "[connections]\ninbound = 0\n").unwrap();
    assert!(error(&["relay", "-c", path.to_str().unwrap()], &[]).contains("[connections] inbound = 0"));
}

#[test]
fn the_examples_limits_of_connections_are_the_defaults() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kaspath.example.toml")).unwrap();
    let section = text.split("[connections]").nth(1).unwrap().split("\n[").next().unwrap();
    let (node, relay) = (ConnectionLimits::default(), ConnectionLimits::of_relay());
    let expected = |limits: &ConnectionLimits| {
        [
            ("inbound", limits.inbound),
            ("inbound-per-address", limits.inbound_per_address),
            ("inbound-per-prefix", limits.inbound_per_prefix),
            ("pending-inbound", limits.pending_inbound),
            ("pending-inbound-per-address", limits.pending_inbound_per_address),
            ("pending-inbound-per-prefix", limits.pending_inbound_per_prefix),
            ("burst-per-address", limits.burst_per_address),
            ("burst-per-prefix", limits.burst_per_prefix),
            ("outbound", limits.outbound),
        ]
    };
    for ((key, node), (_, relay)) in expected(&node).into_iter().zip(expected(&relay)) {
        let line = section.lines().find_map(|line| line.strip_prefix(&format!("# {key} = "))).unwrap();
        let numbers: Vec<u32> = line.split('#').map(|number| number.trim().parse().unwrap()).collect();
        assert_eq!(numbers, [node, relay], "{key}");
    }
}

#[test]
fn a_gateway_has_its_networks_protocol_and_a_kaspad_on_ipv4_loopback() {
    let simnet = settings(&["gateway", "--network", "simnet"], &[]).unwrap();
    assert_eq!(simnet.network_config.protocols, ["/kaspath/kaspad/kaspa-simnet/1.0.0"]);
    assert_eq!(simnet.gateway.unwrap().kaspad.to_string(), "127.0.0.1:16511");
    for elsewhere in ["192.0.2.1:16511", "[::1]:16511"] {
        assert!(error(&["gateway", "--kaspad", elsewhere], &[]).contains("use 127.0.0.1"));
    }
}

#[test]
fn the_policy_decides_what_is_punched() {
    let punched = |policy: &str| settings(&["server", "--policy", policy], &[]).unwrap().network_config.punch.transports;
    assert!(punched("relay-only").is_empty());
    assert!(punched("quic-only").quic && !punched("quic-only").tcp);
    assert!(punched("balanced").tcp && punched("balanced").quic);
}
