use std::collections::HashMap;

use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_transport_libp2p::{RelayServerConfig, ServeWhen};

use super::*;

const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

pub(crate) fn settings(args: &[&str], environment: &[(&str, &str)]) -> Result<Settings> {
    let cli = Cli::try_parse_from([&["kaspath"], args].concat()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let variables: HashMap<_, _> = environment.iter().copied().collect();
    resolve(&cli, |name| if name == "HOME" { Some("/home/u".into()) } else { variables.get(name).map(|v| (*v).to_owned()) })
}

fn error(args: &[&str], environment: &[(&str, &str)]) -> String {
    format!("{:#}", settings(args, environment).err().expect("an error"))
}

fn relay_text() -> String {
    format!("/ip4/203.0.113.1/tcp/4001/p2p/{A}")
}

#[test]
fn defaults_are_a_free_port_of_our_own_and_a_key_under_home() {
    let listens = |config: &NetworkConfig| (config.listen.len(), config.listen_everywhere);
    let relay = settings(&["relay"], &[]).unwrap();
    assert_eq!(listens(&relay.network_config), (0, Some(4001)));
    let settings = settings(&["server"], &[]).unwrap();
    assert_eq!(listens(&settings.network_config), (0, Some(0)));
    assert_eq!(settings.identity, PathBuf::from("/home/u/.kaspath/node.key"));
    assert_eq!(settings.node.unwrap().network, KaspaNetwork::Mainnet);
}

#[test]
fn the_environment_is_read_with_commas_and_semicolons_in_both_spellings() {
    let relays = format!("{}; /ip4/203.0.113.1/udp/4001/quic-v1/p2p/{A}", relay_text());
    let remote = format!("{}/p2p-circuit", relay_text());
    let environment = [
        ("LIBP2P_LISTEN_MULTIADDRS", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2"),
        ("LIBP2P_RELAY_MULTIADDR", relays.as_str()),
        ("LIBP2P_REMOTE_MULTIADDR", remote.as_str()),
        ("LIBP2P_REMOTE_PEER_ID", B),
    ];
    let settings = settings(&["client"], &environment).unwrap();
    assert_eq!((settings.network_config.listen.len(), settings.network_config.listen_everywhere), (2, None));
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
    assert_eq!((settings.network_config.listen.len(), settings.network_config.listen_everywhere), (1, Some(0)));
}

#[test]
fn mistakes_name_their_source_and_their_cure() {
    assert!(error(&["client"], &[]).contains("--remote"));
    assert!(error(&["client", "--remote", &format!("{}/p2p-circuit", relay_text())], &[]).contains("--remote-peer-id"));
    assert!(error(&["server", "--relay", "/ip4/1.2.3.4/tcp/99999"], &[]).contains("99999"));
    assert!(error(&["server"], &[("LIBP2P_RELAY_MULTIADDRS", "/ip4/x/tcp/1")]).contains("LIBP2P_RELAY_MULTIADDRS"));
    assert!(error(&["server", "-c", "/nonexistent.toml"], &[]).contains("/nonexistent.toml"));
    assert!(error(&["relay", "--max-circuit-duration", "0"], &[]).contains("every circuit at once"));
    assert!(error(&["relay", "--circuit-idle-timeout", "0"], &[]).contains("circuit-idle-timeout 0"));
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
    let text = "policy = \"adaptive\"\n[timing]\npunch = \"20s\"\nrelay-after = 3\n[inbound]\nper-relay = 2\n[relay-server]\nmax-circuit-bytes = \"10GiB\"\nmax-circuits-per-ip = 3\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let node = settings(&["server", "-c", path], &[]).unwrap().node.unwrap();
    let timing = &node.policy.timing;
    assert_eq!((timing.punch.as_secs(), timing.relay_after.as_secs(), node.inbound.per_relay), (20, 3, 2));
    let relay = settings(&["relay", "-c", path], &[]).unwrap().network_config.relay_server.unwrap();
    assert_eq!((relay.max_circuit_bytes, relay.max_circuits_per_ip), (10 << 30, 3));
    let flag = ["relay", "-c", path, "--max-circuits-per-ip", "4"];
    assert_eq!(settings(&flag, &[]).unwrap().network_config.relay_server.unwrap().max_circuits_per_ip, 4);
    std::fs::write(path, "[timing]\npunch = \"soon\"\n").unwrap();
    assert!(error(&["server", "-c", path], &[]).contains("24h"));
}

const EXAMPLE: &str = include_str!("../../../../docs/kaspath.example.toml");

/// The example with every key that it shows.
fn every_key() -> String {
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ");
    let line = |line: &'static str| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line);
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_file_changes_nothing_until_a_key_is_uncommented() {
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let set = |value: &toml::Value| value.as_table().is_none_or(|section| !section.is_empty());
    assert_eq!(table.iter().filter(|(_, value)| set(value)).count(), 0, "{table:?}");
}

#[test]
fn the_example_file_is_true() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, every_key()).unwrap();
    check(&path, |name| (name == "HOME").then(|| "/".to_owned())).unwrap();
    let path = path.to_str().unwrap();
    let node = settings(&["server", "-c", path], &[]).unwrap();
    assert_eq!((node.network_config.listen.len(), node.network_config.relays.len()), (2, 1));
    let NodeSettings { policy, inbound, .. } = node.node.unwrap();
    let defaults = (kaspath_policy::StrategyConfig::new(policy.name), kaspath_policy::InboundLimits::default());
    assert_eq!(format!("{:?}", (policy, inbound)), format!("{defaults:?}"), "these are the defaults");
    // What it says of the relay's limits are the defaults.
    let relay = settings(&["relay", "-c", path], &[]).unwrap();
    let (given, default) = (relay.network_config.relay_server.unwrap(), RelayServerConfig::default());
    assert_eq!(format!("{given:?}"), format!("{default:?}"));
}

#[test]
fn what_cannot_work_is_refused_with_the_key_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    for (text, expected) in [
        ("relay = [\"/ip4/203.0.113.1/tcp/4001\"]", "append /p2p/"),
        ("[timing]\npunch = \"0s\"", "timing.punch"),
        ("[inbound]\ntotal = 0", "nonzero"),
        ("[inbound]\nper-relay = 0", "nonzero"),
        ("[inbound]\ntotal = 3\nper-prefix = 4", "more than the total of 3"),
        ("[inbound]\nper-prefix = 9", "more than the total of 8"),
        ("kaspa-listen = \"0.0.0.0:16111\"\nkaspad = \"127.0.0.1:16111\"", "another port"),
        ("appdir = \"~other/kp\"", "write the path out"),
        ("kaspad = \"192.0.2.1:1\"", "kaspad in the configuration file"),
        ("kaspad-rpc = \"http://x\"", "kaspad-rpc in the configuration file"),
        ("[relay-server]\nmax-circuit-duration = \"200years\"", "136 years"),
        ("[relay-server]\nmax-circuits = 1\nmax-circuits-per-peer = 2", "more than max-circuits"),
        ("[relay-server]\nmax-reservations = 0", "nonzero"),
        ("[relay-server]\nmax-reservations-per-ip = 0", "nonzero"),
        ("[relay-server]\nmax-circuits-per-destination = 0", "nonzero"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = check(&path, |name| (name == "HOME").then(|| "/".to_owned())).expect_err(text);
        assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
    }
    std::fs::write(&path, "kaspa-listen = \"192.0.2.1:16111\"\nkaspad = \"127.0.0.1:16111\"").unwrap();
    check(&path, |name| (name == "HOME").then(|| "/".to_owned())).unwrap();
}

#[test]
fn a_total_given_by_flag_shrinks_its_shares_and_is_named_as_a_flag() {
    let inbound = |args: &[&str]| settings(&[&["gateway"], args].concat(), &[]).unwrap().node.unwrap().inbound;
    let limits = inbound(&["--max-inbound", "1"]);
    assert_eq!((limits.total, limits.per_address, limits.per_prefix, limits.per_relay), (1, 1, 1, 1));
    assert_eq!(inbound(&["--max-inbound", "100"]).per_prefix, 4);
    assert!(error(&["gateway", "--max-inbound", "0"], &[]).contains("--max-inbound"));
    assert!(error(&["gateway", "--kaspad", "192.0.2.1:1"], &[]).contains("--kaspad"));
}

#[test]
fn a_configuration_that_is_not_a_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(error(&["server", "-c", fifo.to_str().unwrap()], &[]).contains("not a regular file"));
    assert!(!ConfigFile::redacts(&fifo));
}

#[test]
fn a_wrong_file_that_asks_for_redaction_shows_no_line_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, "redact  = true # for sharing\nlisen = [\"/ip4/203.0.113/tcp/1\"]\n").unwrap();
    let error = error(&["server", "-c", path.to_str().unwrap()], &[]);
    assert!(!error.contains("203.0") && error.contains("line 2") && error.contains("did you mean `listen`?"), "{error}");
    assert!(ConfigFile::redacts(&path));
    std::fs::write(&path, "\"redact\" = true\n").unwrap();
    assert!(ConfigFile::redacts(&path), "a quoted key is the same key");
}

#[test]
fn a_relay_and_id_read_no_variable_that_is_not_theirs() {
    let environment = [("LIBP2P_RELAY_MULTIADDRS", "nonsense"), ("LIBP2P_LISTEN_MULTIADDR", "/ip4/127.0.0.1/tcp/7")];
    let relay = settings(&["relay"], &environment).unwrap();
    assert_eq!(relay.network_config.listen[0].to_string(), "/ip4/127.0.0.1/tcp/7");
    settings(&["peers", "list"], &environment).unwrap();
    assert!(error(&["server"], &environment).contains("LIBP2P_RELAY_MULTIADDRS"));
}

#[test]
fn common_flags_may_follow_a_subcommand_and_are_refused_where_unused() {
    let peers = settings(&["peers", "list", "--appdir", "/tmp/kp", "--redact"], &[]).unwrap();
    assert_eq!((peers.peer_book(), peers.output.redact), (PathBuf::from("/tmp/kp/peers.redb"), true));
    for unused in [&["simulate", "--appdir", "x"][..], &["id", "--log-format", "json"], &["config", "example", "--appdir", "x"]] {
        assert!(Cli::try_parse_from([&["kaspath"], unused].concat()).is_err(), "{unused:?}");
    }
}

#[test]
fn connections_are_limited_by_the_file_over_the_defaults_of_the_role() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    std::fs::write(&path, "[connections]\ninbound = 100\nburst-per-address = 7\n[inbound]\ntotal = 30\nper-address = 30\n")
        .unwrap();
    let limits = |role: &str| settings(&[role, "-c", path.to_str().unwrap()], &[]).unwrap().network_config.limits;
    assert_eq!((limits("relay").inbound, limits("relay").inbound_per_address, limits("relay").burst_per_address), (100, 64, 7));
    assert_eq!((limits("gateway").inbound, limits("gateway").inbound_per_address), (100, 120));
    std::fs::write(&path, "[connections]\ninbound = 0\n").unwrap();
    assert!(error(&["relay", "-c", path.to_str().unwrap()], &[]).contains("nonzero"));
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
        let line = section.lines().find_map(|line| line.strip_prefix(&format!("#{key} = "))).unwrap();
        let numbers: Vec<u32> = line.split('#').map(|number| number.trim().parse().unwrap()).collect();
        assert_eq!(numbers, [node, relay], "{key}");
    }
}

#[test]
fn a_node_asks_and_serves_while_it_is_reachable_unless_it_is_told_otherwise() {
    let network = |args: &[&str]| settings(args, &[]).unwrap().network_config;
    let server = network(&["server"]);
    assert_eq!((server.serve, server.reach.ask, server.reach.help), (ServeWhen::Reachable, true, true));
    let limits = server.relay_server.unwrap();
    assert_eq!((limits.max_reservations, limits.max_circuits, limits.bytes_per_second), (32, 16, 1_000_000));
    assert!(!network(&["server", "--no-autonat"]).reach.ask);
    assert!(network(&["gateway", "--serve", "never"]).relay_server.is_none());
    assert_eq!(network(&["gateway", "--serve", "always"]).serve, ServeWhen::Always);
    assert!(network(&["client", "--remote", "192.0.2.1:16111"]).relay_server.is_none());
    assert_eq!(network(&["relay"]).serve, ServeWhen::Always);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "[reachability]\nserve = \"never\"\nask = false\nhelp = false\ncheck-interval = \"10s\"").unwrap();
    let given = network(&["server", "-c", path]);
    assert_eq!((given.relay_server.is_some(), given.reach.ask, given.reach.help), (false, false, false));
    assert_eq!(given.reach.check_interval.as_secs(), 10);
    assert!(network(&["server", "-c", path, "--serve", "when-reachable"]).relay_server.is_some(), "the flag comes first");
    let relay = network(&["relay", "-c", path]);
    assert_eq!((relay.serve, relay.relay_server.is_some(), relay.reach.ask), (ServeWhen::Always, true, false), "a relay serves");
    assert!(network(&["relay"]).reach.ask && !network(&["relay", "--no-autonat"]).reach.ask);
    std::fs::write(path, "[reachability]\ncheck-interval = \"9s\"").unwrap();
    for role in ["server", "relay"] {
        assert!(error(&[role, "-c", path], &[]).contains("reachability.check-interval"), "{role}");
    }
    std::fs::write(path, "no-autonat = true").unwrap();
    assert!(error(&["server", "-c", path], &[]).contains("unknown field"), "`ask` says it");
}

#[test]
fn the_help_says_where_it_listens_and_what_it_keeps() {
    let help = Cli::try_parse_from(["kaspath", "server", "--help"]).unwrap_err().to_string();
    assert!(help.contains("IPv4 and IPv6") && help.contains("peers.redb"), "{help}");
}

#[test]
fn host_names_of_all_settings_are_hidden() {
    let remote = "/dns4/relay.example/tcp/1/p2p/".to_owned() + A + "/p2p-circuit/p2p/" + B;
    let args =
        ["gateway", "--remote", &remote, "--kaspad-rpc", "ws://node.example:1/x", "--external-address", "/dns/me.example/tcp/1"];
    let mut names = settings(&args, &[]).unwrap().host_names();
    names.sort();
    assert_eq!(names, ["me.example", "node.example", "relay.example"]);
}

#[test]
fn a_gateway_has_its_networks_protocol_and_a_kaspad_on_ipv4_loopback() {
    let simnet = settings(&["gateway", "--network", "simnet"], &[]).unwrap();
    assert_eq!(simnet.network_config.protocols, ["/kaspath/kaspad/kaspa-simnet/1.0.0"]);
    assert_eq!(simnet.gateway.unwrap().kaspad.to_string(), "127.0.0.1:16511");
    let more = settings(&["gateway", "--network", "simnet", "--accept-kaspad-transport"], &[]).unwrap();
    assert_eq!(more.network_config.protocols, ["/kaspath/kaspad/kaspa-simnet/1.0.0", "/kaspad/transport/1.0.0"]);
    let run = ["run", "--accept-kaspad-transport", "--", "kaspad", "--simnet"];
    assert_eq!(settings(&run, &[]).unwrap().network_config.protocols, more.network_config.protocols);
    for elsewhere in ["192.0.2.1:16511", "[::1]:16511"] {
        assert!(error(&["gateway", "--kaspad", elsewhere], &[]).contains("use 127.0.0.1"));
    }
}

#[test]
fn a_relay_list_is_a_file_or_a_name_and_asks_for_reservations() {
    let node = |args: &[&str]| settings(&[&["server"], args].concat(), &[]).unwrap().node.unwrap();
    assert_eq!((node(&[]).pool.reservations, node(&[]).relay_list), (0, None), "nobody is asked to be found");
    assert_eq!(node(&["--relay", &relay_text()]).pool.reservations, 3);
    let listed = node(&["--relay-list", "relays.example.org"]);
    assert_eq!((listed.pool.reservations, listed.relay_list.as_deref()), (3, Some("relays.example.org")));
    assert!(settings(&["server", "--relay-list", "./none"], &[]).unwrap().has_relays(), "the file may come later");
    let wrong = error(&["gateway", "--relay-list", "two words"], &[]);
    assert!(wrong.contains("--relay-list") && wrong.contains("neither a file nor a name"), "{wrong}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kaspath.toml");
    let with = |text: &str| {
        std::fs::write(&path, text).unwrap();
        settings(&["server", "-c", path.to_str().unwrap()], &[])
    };
    let pool = with("relay-list = \"relays.example.org\"\n[relay-pool]\nreservations = 2\nminimum-hold = \"10min\"\n");
    let pool = pool.unwrap().node.unwrap().pool;
    assert_eq!((pool.reservations, pool.minimum_hold), (2, std::time::Duration::from_secs(600)));
    assert!(pool.strangers && node(&[]).pool.strangers, "by default");
    assert!(!node(&["--relay", &relay_text(), "--only-given-relays"]).pool.strangers);
    assert!(!with("[relay-pool]\nstrangers = false\n").unwrap().node.unwrap().pool.strangers);
    let error = format!("{:#}", with("[relay-pool]\nreservations = 9\n").err().unwrap());
    assert!(error.contains("relay-pool.reservations") && error.contains("more than 8"), "{error}");
}

#[test]
fn a_groups_secret_is_read_from_a_file_that_only_its_owner_reads() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("group");
    let args = ["server", "--group", path.to_str().unwrap()];
    assert!(error(&args, &[]).contains("cannot read the group file"));
    fs::write(&path, "a secret of a group\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(error(&args, &[]).contains("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let group = settings(&args, &[]).unwrap().node.unwrap().discovery.group;
    assert_eq!(group, Some(kaspath_node::Group::new(b"a secret of a group").unwrap()));
    fs::write(&path, "short").unwrap();
    let cause = error(&args, &[]);
    assert!(cause.contains("openssl rand") && cause.contains("16 to 256 bytes"), "{cause}");
    assert_eq!(settings(&["server"], &[]).unwrap().node.unwrap().discovery.group, None);
}
