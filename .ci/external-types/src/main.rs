//! Checks which other crates' types the public API of each library crate shows, from
//! the JSON that rustdoc writes: signatures, re-exports, implemented traits and bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What each crate may show besides the standard library and itself, and shows. A crate
/// whose types are here is part of the API: a new major version of it is one of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kaspath-domain", &["serde_core", "tokio"]),
    ("kaspath-transport-tcp", &["kaspath_domain"]),
    ("kaspath-transport-libp2p", &["kaspath_domain", "serde_core"]),
    ("kaspath-policy", &["kaspath_domain", "serde_core"]),
    ("kaspath-session", &["kaspath_domain", "serde_core", "tokio"]),
    ("kaspath-simulator", &["kaspath_domain", "serde_core"]),
    ("kaspath-gateway", &["kaspath_domain", "kaspath_policy", "serde_core"]),
    (
        "kaspath-kaspa-adaptor",
        &[
            "kaspath_domain",
            "kaspa_p2p_lib",
            "serde_core",
            "tokio",
            "tonic",
            "uuid",
            // What tonic takes as a connector and as a server's streams.
            "futures_core",
            "http",
            "hyper_util",
            "tower_service",
        ],
    ),
    // Parameters and answers of calls that have no method of their own.
    ("kaspath-kaspad-rpc", &["serde_core", "serde_json"]),
    ("kaspath-peer-store", &["kaspath_domain"]),
    ("kaspath-relay-list", &["kaspath_domain"]),
    ("kaspath-port-mapping", &["kaspath_domain"]),
    ("kaspath-control", &["kaspath_domain", "serde_core"]),
    ("kaspath-web", &[]),
    (
        "kaspath-metrics",
        &["kaspath_domain", "kaspath_gateway", "kaspath_kaspa_adaptor", "kaspath_session", "kaspath_transport_libp2p"],
    ),
    (
        "kaspath-node",
        &[
            "kaspath_domain",
            "kaspath_policy",
            "kaspath_kaspa_adaptor",
            "kaspath_gateway",
            "kaspath_session",
            "kaspath_transport_libp2p",
            "serde_core",
        ],
    ),
];

fn main() -> Result<ExitCode> {
    let folder = std::env::args_os().nth(1).context("usage: external-types FOLDER, the one that rustdoc wrote its JSON to")?;
    let mut faults = 0;
    for (package, allowed) in ALLOWED {
        let api = api(Path::new(&folder), package)?;
        let external = external(&api).with_context(|| format!("the API of {package}"))?;
        for name in allowed.iter().filter(|name| !external.contains_key(**name)) {
            faults += 1;
            eprintln!("{package} may show types of {name}, but shows none: shorten its list");
        }
        for (name, shown) in external {
            if !["core", "alloc", "std"].contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                faults += 1;
                let shown: Vec<String> = shown.into_iter().collect();
                eprintln!("{package} shows types of {name}: {}", shown.join(", "));
            }
        }
    }
    println!("{} public APIs read, {faults} faults", ALLOWED.len());
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The public API of a library of the workspace, as rustdoc's JSON.
fn api(folder: &Path, package: &str) -> Result<Value> {
    let file = folder.join(format!("{}.json", package.replace('-', "_")));
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The other crates that the API names, with the types by which it does.
fn external(api: &Value) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let index = api["index"].as_object().context("no index")?;
    let mut ids = BTreeSet::new();
    for item in index.values().filter(|item| item["crate_id"] == 0) {
        let generated = !item["inner"]["impl"]["blanket_impl"].is_null() || item["inner"]["impl"]["is_synthetic"] == true;
        // Traits of the standard library that macros implement show nothing.
        if !generated {
            collect(&item["inner"], &mut ids);
        }
    }
    ensure!(!ids.is_empty(), "no types found: has rustdoc's format changed?");
    let mut external: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in ids {
        let path = &api["paths"][&id];
        if path.is_null() || path["crate_id"] == 0 {
            continue;
        }
        let name = api["external_crates"][path["crate_id"].to_string()]["name"].as_str().context("a crate without a name")?;
        let parts = path["path"].as_array().context("a type without a path")?;
        let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
        external.entry(name.to_owned()).or_default().insert(parts.join("::"));
    }
    Ok(external)
}

/// The ids of all that is named: types and traits, and what is handed on.
fn collect(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let is_name = map.contains_key("path") || map.contains_key("source");
            if let Some(id) = map.get("id").filter(|id| is_name && id.is_number()) {
                ids.insert(id.to_string());
            }
            map.values().for_each(|value| collect(value, ids));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}
