//! Cores wired together in memory, through virtual time.
//!
//! `world` is time, the hosts and what their cores ask for; `sites` and `network` are what lies
//! between them: NATs, latency, loss, relays. `random` runs many small worlds.

mod exchanging;
mod families;
mod network;
mod punching;
mod random;
mod relays;
mod sites;
mod world;

use std::time::Duration;

use kaspath_domain::{Moment, PeerAddress, PeerIdentity, PeerLocator, RetryCadence, TransportAddress};

use super::{Connection, CoreConfig, Output, shared::Shared};
use crate::{PunchConfig, ReachConfig};

pub(super) fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

/// The identity with that number.
pub(super) fn identity(number: u64) -> PeerIdentity {
    let bytes = [&[0, 8][..], &number.to_be_bytes()].concat();
    PeerIdentity::from_bytes(&bytes).unwrap()
}

pub(super) fn address(text: &str) -> TransportAddress {
    let locator: PeerLocator = text.parse().unwrap();
    let PeerAddress::Direct(address) = locator.address else { panic!("{text} is not direct") };
    address
}

/// Reserves nowhere.
pub(super) fn config(local: u64) -> CoreConfig {
    CoreConfig {
        local: identity(local),
        relays: Vec::new(),
        wanted_reservations: 3,
        reservation_cadence: RetryCadence { jitter: 0.0, ..RetryCadence::persistent() },
        punch: PunchConfig { cadence: RetryCadence { jitter: 0.0, ..RetryCadence::punch() }, ..PunchConfig::default() },
        lan: true,
        external: Vec::new(),
        pending_punches: 64,
        reach: ReachConfig::default(),
    }
}

/// What one machine works on when it is tested alone.
pub(super) fn shared() -> Shared {
    Shared::new(identity(0), config(0).punch, || 0.5, at(0))
}

/// All that is to be done, but for reports.
pub(super) fn outputs(shared: &mut Shared) -> Vec<Output> {
    let all = std::iter::from_fn(|| shared.next_output());
    all.filter(|output| !matches!(output, Output::Report(_))).collect()
}

/// A connection with the peer, over `path` as a multiaddr says it.
pub(super) fn connection(peer: u64, direction: kaspath_domain::Direction, path: &str) -> Connection {
    let remote: PeerLocator = path.parse().unwrap();
    let path = match &remote.address {
        PeerAddress::Direct(address) => kaspath_domain::Path::Direct { transport: address.transport },
        PeerAddress::Relayed(relay) => {
            kaspath_domain::Path::Relayed { relay: relay.relay.clone(), reason: kaspath_domain::RelayReason::PunchPending }
        }
    };
    Connection { peer: identity(peer), direction, path, remote, local: None }
}

/// It would not be a core without I/O any more.
#[test]
fn no_file_of_the_core_names_libp2p_a_clock_or_a_runtime() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/core"))];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("tests/mod.rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                for foreign in ["libp2p::", "tokio::", "Instant", "SystemTime", "std::net::Tcp", "std::net::Udp"] {
                    assert!(!source.contains(foreign), "{} names {foreign}", path.display());
                }
                read += 1;
            }
        }
    }
    assert!(read >= 20, "{read} files");
}
