//! What to probe, from the command line.

use std::{fs::File, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{Host, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, Transport, TransportAddress};
use kaspath_transport_libp2p::{NodeKey, RelayToken};

use crate::{cli::ProbeArgs, lock, settings};

/// Each address beyond the second costs the relay one connection more.
const MAX_ADDRESSES: usize = 4;

/// A relay, and how it is probed.
pub(crate) struct Plan {
    pub(super) relay: PeerIdentity,
    pub(super) addresses: Vec<TransportAddress>,
    /// Of the peer that reserves, and of the one that calls it.
    pub(super) keys: [NodeKey; 2],
    pub(super) token: Option<RelayToken>,
    pub(super) timeout: Duration,
    pub(super) json: bool,
    /// Held to the end.
    _locks: Vec<File>,
}

impl Plan {
    /// # Errors
    /// What is wrong with the command line, and its cure.
    pub(crate) fn new(args: &ProbeArgs) -> Result<Self> {
        let relays = args.relay.iter().map(relay).collect::<Result<Vec<_>>>()?;
        let relay = relays.first().context("no relay is given")?.relay.clone();
        if let Some(other) = relays.iter().find(|other| other.relay != relay) {
            bail!("{other} is another relay than {relay}: probe one relay at a time");
        }
        let mut addresses = Vec::new();
        for RelayAddress { via, .. } in relays {
            let other = args.all.then(|| other_transport(&via));
            for address in [via].into_iter().chain(other) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.len() > MAX_ADDRESSES {
            bail!(
                "{} addresses are too many for one probe, which connects to each: give {MAX_ADDRESSES} at most",
                addresses.len()
            );
        }
        if args.timeout.0.is_zero() {
            bail!("--timeout 0 leaves no time to connect: give a time like 15s");
        }
        let mut keys = [NodeKey::generate(), NodeKey::generate()];
        let mut locks = Vec::new();
        if args.identity.len() > keys.len() {
            bail!("a probe has two peers: give --identity at most twice");
        }
        for (key, path) in keys.iter_mut().zip(&args.identity) {
            let lock;
            (*key, lock) = identity(path)?;
            locks.extend(lock);
        }
        if keys[0].identity() == keys[1].identity() {
            bail!("both --identity name the same peer, which cannot call itself: name another file, or leave one out");
        }
        let token = match &args.token_file {
            Some(path) => Some(settings::single_token(path)?),
            // Parsed here: the command line's own message would repeat it.
            None => args.token.as_deref().map(str::parse).transpose().context("--token")?,
        };
        Ok(Self { relay, addresses, keys, token, timeout: args.timeout.0, json: args.json, _locks: locks })
    }

    /// The names to hide where that is asked for.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.addresses.iter().filter_map(|address| match &address.host {
            Host::Dns(name) => Some(name),
            Host::Ip(_) => None,
        })
    }
}

fn relay(locator: &PeerLocator) -> Result<RelayAddress> {
    match (&locator.address, &locator.peer) {
        (PeerAddress::Direct(via), Some(peer)) => Ok(RelayAddress { relay: peer.clone(), via: via.clone() }),
        (PeerAddress::Relayed(relay), None) => Ok(relay.clone()),
        (PeerAddress::Relayed(relay), Some(_)) => bail!("{locator} is a peer behind a relay: give the relay alone, {relay}"),
        (PeerAddress::Direct(_), None) => {
            bail!("relay {locator} lacks its peer id: append /p2p/<relay peer id>, as the relay prints it")
        }
    }
}

fn other_transport(address: &TransportAddress) -> TransportAddress {
    let transport = match address.transport {
        Transport::Tcp => Transport::Quic,
        Transport::Quic => Transport::Tcp,
    };
    TransportAddress { transport, ..address.clone() }
}

/// A peer's own key. Its program must not run: the probe would take its reservation over.
fn identity(path: &Path) -> Result<(NodeKey, Option<File>)> {
    if path.symlink_metadata().is_err() {
        bail!("there is no identity file {}: `kaspath id --identity FILE` makes one", path.display());
    }
    let key = NodeKey::load_or_create(path)?;
    Ok((key, lock::take(path)?.ok()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    const RELAY: &str = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn plan(args: &[&str]) -> Result<Plan> {
        let Command::Probe(args) = Cli::try_parse_from([&["kaspath", "probe"], args].concat())?.command else {
            panic!("a probe")
        };
        Plan::new(&args)
    }

    #[test]
    fn every_address_is_probed_once_and_all_adds_the_other_transport() {
        let addresses = |args: &[&str]| plan(args).unwrap().addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses(&[RELAY]), ["/ip4/203.0.113.1/tcp/4001"]);
        let both = ["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"];
        assert_eq!(addresses(&[RELAY, "--all"]), both);
        assert_eq!(addresses(&[RELAY, RELAY, &RELAY.replace("tcp/4001", "udp/4001/quic-v1"), "--all"]), both);
        assert_eq!(addresses(&[&format!("{RELAY}/p2p-circuit")]), both[..1]);
    }

    #[test]
    fn a_wrong_command_line_names_its_cure() {
        let other = "/ip4/203.0.113.2/tcp/4001/p2p/12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD";
        let no_id = RELAY.split("/p2p").next().unwrap();
        let client = format!("{RELAY}/p2p-circuit/p2p/12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD");
        for (args, expected) in [
            (&[no_id][..], "append /p2p/"),
            (&[RELAY, other], "one relay at a time"),
            (&[&client], "the relay alone"),
            (&[RELAY, "--timeout", "0"], "15s"),
            (&[RELAY, "--token", "two words"], "--token: a relay's token has"),
            (&[RELAY, "--identity", "/nonexistent/node.key"], "kaspath id"),
        ] {
            let error = format!("{:#}", plan(args).err().unwrap());
            assert!(error.contains(expected) && !error.contains("two words"), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_probe_with_identities_has_these_and_they_must_differ() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one.key", "two.key"].map(|name| dir.path().join(name));
        let ids = [&one, &two].map(|path| NodeKey::load_or_create(path).unwrap().identity());
        let [one, two] = [&one, &two].map(|path| path.to_str().unwrap());
        let both = plan(&[RELAY, "--identity", one, "--identity", two]).unwrap();
        assert_eq!(both.keys.each_ref().map(NodeKey::identity), ids);
        assert!(plan(&[RELAY, "--identity", one]).err().unwrap().to_string().contains("another kaspath"), "its lock is held");
        drop(both);
        assert_eq!(plan(&[RELAY, "--identity", one]).unwrap().keys[0].identity(), ids[0]);
    }
}
