//! The architecture, checked: who may depend on whom.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Each crate of the workspace with its own dependencies within it; development
/// ones count too, for what a test needs its crate is shaped by.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let is_ours = |name: &str| packages.iter().any(|package| package["name"] == name);
    let ours = |package: &Value| {
        let names = package["dependencies"].as_array().unwrap().iter().map(|dependency| dependency["name"].as_str().unwrap());
        names.filter(|name| is_ours(name)).map(str::to_owned).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), ours(package))).collect()
}

#[test]
fn dependencies_point_inwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("external-types", &[][..]),
        ("kaspath-domain", &[]),
        ("kaspath-transport-tcp", &["kaspath-domain"]),
        ("kaspath-transport-libp2p", &["kaspath-domain"]),
        ("kaspath-policy", &["kaspath-domain"]),
        ("kaspath-session", &["kaspath-domain"]),
        ("kaspath-simulator", &["kaspath-domain", "kaspath-policy"]),
        ("kaspath-gateway", &["kaspath-domain", "kaspath-policy"]),
        ("kaspath-kaspa-adaptor", &["kaspath-domain"]),
        ("kaspath-kaspad-rpc", &[]),
        ("kaspath-peer-store", &["kaspath-domain"]),
        ("kaspath-relay-list", &["kaspath-domain"]),
        ("kaspath-port-mapping", &["kaspath-domain"]),
        ("kaspath-control", &["kaspath-domain"]),
        ("kaspath-web", &["kaspath-domain"]),
        (
            "kaspath-metrics",
            &["kaspath-domain", "kaspath-gateway", "kaspath-kaspa-adaptor", "kaspath-session", "kaspath-transport-libp2p"],
        ),
        (
            "kaspath-node",
            &[
                "kaspath-domain",
                "kaspath-gateway",
                "kaspath-kaspa-adaptor",
                "kaspath-kaspad-rpc",
                "kaspath-policy",
                "kaspath-session",
                "kaspath-transport-libp2p",
            ],
        ),
        (
            "kaspath",
            &[
                "kaspath-control",
                "kaspath-domain",
                "kaspath-gateway",
                "kaspath-kaspa-adaptor",
                "kaspath-metrics",
                "kaspath-node",
                "kaspath-peer-store",
                "kaspath-policy",
                "kaspath-relay-list",
                "kaspath-port-mapping",
                "kaspath-session",
                "kaspath-simulator",
                "kaspath-transport-libp2p",
                "kaspath-transport-tcp",
                "kaspath-web",
            ],
        ),
        (
            "kaspath-fuzz",
            &[
                "kaspath-control",
                "kaspath-domain",
                "kaspath-gateway",
                "kaspath-kaspa-adaptor",
                "kaspath-kaspad-rpc",
                "kaspath-relay-list",
                "kaspath-port-mapping",
                "kaspath-session",
                "kaspath-transport-libp2p",
            ],
        ),
        (
            "kaspath-lab",
            &[
                "kaspath-domain",
                "kaspath-kaspa-adaptor",
                "kaspath-kaspad-rpc",
                "kaspath-node",
                "kaspath-policy",
                "kaspath-transport-libp2p",
            ],
        ),
    ]);
    let found = dependencies();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), allowed.keys().copied().collect::<Vec<_>>());
    for (name, dependencies) in found {
        let mut allowed: Vec<&str> = allowed[name.as_str()].to_vec();
        allowed.sort_unstable();
        let mut dependencies: Vec<&str> = dependencies.iter().map(String::as_str).collect();
        dependencies.sort_unstable();
        dependencies.dedup();
        assert_eq!(dependencies, allowed, "{name}");
    }
}

#[test]
fn the_domain_knows_no_transport() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/domain/Cargo.toml")).unwrap();
    for transport in ["libp2p", "tonic", "hyper", "kaspa-", "socket2", "\"net\""] {
        assert!(!manifest.contains(transport), "the domain's manifest names {transport}");
    }
}

/// Only the libp2p adapter and the lab, which measures against the stock swarm, know libp2p.
#[test]
fn libp2p_stays_in_its_adapter() {
    for (folder, may) in [
        ("crates/domain", false),
        ("crates/policy", false),
        ("crates/kaspa-adaptor", false),
        ("crates/control", false),
        ("crates/gateway", false),
        ("crates/kaspad-rpc", false),
        ("crates/metrics", false),
        ("crates/node", false),
        ("crates/peer-store", false),
        ("crates/relay-list", false),
        ("crates/port-mapping", false),
        ("crates/simulator", false),
        ("crates/transport-tcp", false),
        ("crates/transport-libp2p", true),
        ("crates/web", false),
        ("apps/kaspath", false),
        ("apps/lab", true),
    ] {
        let path = format!("{}/../../{folder}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(path).unwrap();
        let depends = manifest.lines().any(|line| line.starts_with("libp2p ") || line.starts_with("libp2p="));
        assert_eq!(depends, may, "{folder}");
    }
}
