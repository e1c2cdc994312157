//! What the sites get from where, by counters in their routers.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Lab, faults::replace_table, shell};

/// Bytes that came in at both sites so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// From each of two relays.
    pub(crate) relays: [u64; 2],
    /// From elsewhere, which is the other site.
    pub(crate) tcp: u64,
    pub(crate) udp: u64,
}

impl Lab {
    /// Counts from now on. What is dropped is not counted.
    pub(crate) fn meter(&self, relays: [Ipv4Addr; 2]) -> Result<()> {
        let [first, second] = relays;
        let chains = format!(
            "counter relay0 {{ }}
            counter relay1 {{ }}
            counter by_tcp {{ }}
            counter by_udp {{ }}
            chain forward {{ type filter hook forward priority filter + 10; policy accept;
                iifname != \"wan\" accept
                ip saddr {first} counter name relay0 accept
                ip saddr {second} counter name relay1 accept
                meta l4proto tcp counter name by_tcp
                meta l4proto udp counter name by_udp
            }}"
        );
        self.sites.iter().try_for_each(|site| replace_table(&site.nat, "received", &chains))
    }

    /// What was counted so far.
    pub(crate) fn received(&self) -> Result<Received> {
        let mut total = Received::default();
        for site in &self.sites {
            total.add(&shell::run(Some(&site.nat), "nft -j list counters table ip received")?)?;
        }
        Ok(total)
    }
}

impl Received {
    /// Adds what nft lists as JSON.
    fn add(&mut self, listed: &str) -> Result<()> {
        let listed: Value = serde_json::from_str(listed).context("nft's list of counters is no JSON")?;
        for counter in listed["nftables"].as_array().into_iter().flatten().map(|object| &object["counter"]) {
            let bytes = counter["bytes"].as_u64().unwrap_or(0);
            match counter["name"].as_str() {
                Some("relay0") => self.relays[0] += bytes,
                Some("relay1") => self.relays[1] += bytes,
                Some("by_tcp") => self.tcp += bytes,
                Some("by_udp") => self.udp += bytes,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_counters_of_both_sites_are_added() {
        let counter =
            |name: &str, bytes: u64| json!({ "counter": { "family": "ip", "name": name, "packets": 1, "bytes": bytes } });
        let listed =
            json!({ "nftables": [{ "metainfo": {} }, counter("relay0", 10), counter("relay1", 20), counter("by_tcp", 3)] });
        let mut total = Received::default();
        total.add(&listed.to_string()).unwrap();
        total.add(&json!({ "nftables": [counter("relay1", 5), counter("by_udp", 7)] }).to_string()).unwrap();
        assert_eq!(total, Received { relays: [10, 25], tcp: 3, udp: 7 });
        assert!(total.add("").is_err());
    }
}
