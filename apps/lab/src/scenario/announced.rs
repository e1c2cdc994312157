//! Which addresses a relay announces, by its own events.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::time::Instant;

use crate::process::Program;

/// Time for a change of an interface to be announced.
const CHANGE: Duration = Duration::from_secs(15);

/// Where a program that listens on the wildcard's usual port is reached.
pub(super) fn public_addresses(ip: Ipv4Addr) -> [String; 2] {
    [format!("/ip4/{ip}/tcp/4001"), format!("/ip4/{ip}/udp/4001/quic-v1")]
}

/// Waits until the relay announces these addresses and no others.
pub(super) async fn expect(relay: &mut Program, wanted: &[String]) -> Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    let deadline = Instant::now() + CHANGE;
    relay.drain();
    while standing(&relay.events) != wanted {
        if relay.next(deadline).await?.is_none() {
            bail!("the relay announces {:?}, and must announce {wanted:?}", standing(&relay.events));
        }
    }
    Ok(())
}

/// The addresses that stand announced after these events, without peer ids: those
/// of the start, and what has come and gone since.
fn standing(events: &[Value]) -> BTreeSet<String> {
    let bare = |address: &Value| address.as_str().and_then(|text| text.split("/p2p/").next()).map(str::to_owned);
    let mut announced = BTreeSet::new();
    for event in events {
        match event["event"].as_str() {
            Some("started") => announced.extend(event["announced"].as_array().into_iter().flatten().filter_map(bare)),
            Some("announced") => announced.extend(bare(&event["address"])),
            Some("announcement-ended") => announced.retain(|address| Some(address) != bare(&event["address"]).as_ref()),
            _ => {}
        }
    }
    announced
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_announcement_stands_until_it_is_ended() {
        let event = |name: &str, address: &str| json!({ "event": name, "address": address });
        let events = [
            json!({ "event": "started", "announced": ["/ip4/203.0.113.1/udp/4001/quic-v1"] }),
            event("announced", "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"),
            event("announced", "/ip4/198.18.77.1/tcp/4001"),
            event("listening", "/ip4/127.0.0.1/tcp/4001"),
            event("announcement-ended", "/ip4/198.18.77.1/tcp/4001"),
        ];
        let [tcp, quic] = public_addresses(Ipv4Addr::new(203, 0, 113, 1));
        assert_eq!(standing(&events), BTreeSet::from([tcp, quic]));
    }
}
