//! Peers that the settings name.

use anyhow::{Result, bail};
use kaspath_domain::{AddressSource, PeerAddress, PeerBook, PeerChange, PeerLocator, addresses_for, wall_clock};

use crate::settings::NodeSettings;

/// Records remotes and relays of the settings in the book, where they stay as long as
/// this program runs, and adds the book's addresses of the remotes that are named by
/// only their ids. A remote that has none there is an error.
pub(crate) fn record_configured(book: &dyn PeerBook, node: &mut NodeSettings, relays: &[PeerLocator]) -> Result<()> {
    // What the book itself knows is not the user's word, so it is not recorded as such.
    let configured = node.remotes.clone();
    for peer in &node.remote_ids {
        book.pin(peer);
        if node.remotes.iter().any(|remote| remote.peer.as_ref() == Some(peer)) {
            continue;
        }
        let addresses = book.get(peer).map(|record| addresses_for(&record, wall_clock())).unwrap_or_default();
        if addresses.is_empty() {
            bail!(
                "no address of {peer} is known here: give its whole address once, as that node prints it after `reachable at`; \
                 `kaspath peers list` shows the peers that this node knows"
            );
        }
        node.remotes.extend(addresses);
    }
    let relays = relays.iter().chain(&configured).map(relay).collect::<Vec<_>>();
    for locator in configured.iter().chain(&relays) {
        if let Some(peer) = &locator.peer {
            book.pin(peer);
            // Full of banned peers, the book does without; this one is reached all the same.
            let change = PeerChange::Address { locator: locator.clone(), source: AddressSource::Manual };
            let _ = book.update(peer, change, wall_clock());
        }
    }
    Ok(())
}

/// The relay that an address names, as itself or on the way.
fn relay(locator: &PeerLocator) -> PeerLocator {
    match &locator.address {
        PeerAddress::Relayed(relay) => {
            PeerLocator { peer: Some(relay.relay.clone()), address: PeerAddress::Direct(relay.via.clone()) }
        }
        PeerAddress::Direct(_) => locator.clone(),
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{PeerIdentity, memory::MemoryPeerBook};

    use super::*;
    use crate::settings::tests::settings;

    const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn node(args: &[&str]) -> NodeSettings {
        settings(args, &[]).unwrap().node.unwrap()
    }

    #[test]
    fn configured_remotes_and_relays_outlast_ten_thousand_admitted_strangers() {
        let book = MemoryPeerBook::new(100);
        let relay = format!("/ip4/192.0.2.1/tcp/4001/p2p/{A}");
        let remote = format!("/ip4/192.0.2.1/tcp/4001/p2p/{A}/p2p-circuit/p2p/{B}");
        let mut settings = node(&["client", "--relay", &relay, "--remote", &remote]);
        record_configured(&book, &mut settings, &[relay.parse().unwrap()]).unwrap();
        for n in 0..10_000_u16 {
            let [a, b] = n.to_be_bytes();
            let stranger = PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap();
            book.update(&stranger, PeerChange::Admitted, wall_clock()).unwrap();
        }
        for (peer, address) in [(A, relay), (B, remote)] {
            let record = book.get(&peer.parse().unwrap()).unwrap();
            assert_eq!(record.addresses.last().unwrap().locator.to_string(), address);
        }
    }

    #[test]
    fn a_remote_named_by_its_id_alone_gets_the_books_addresses_or_an_error_with_the_cure() {
        let book = MemoryPeerBook::new(100);
        let mut unknown = node(&["client", "--remote", B]);
        let error = record_configured(&book, &mut unknown, &[]).unwrap_err().to_string();
        assert!(error.contains(B) && error.contains("give its whole address once"), "{error}");
        let reached = PeerChange::Address {
            locator: format!("/ip4/192.0.2.7/tcp/9/p2p/{B}").parse().unwrap(),
            source: AddressSource::Dialed { relay: None },
        };
        for change in [PeerChange::Admitted, reached] {
            book.update(&B.parse().unwrap(), change, wall_clock()).unwrap();
        }
        let mut known = node(&["client", "--remote", B]);
        record_configured(&book, &mut known, &[]).unwrap();
        let record = book.get(&B.parse().unwrap()).unwrap();
        assert_eq!(record.addresses[0].source, AddressSource::Dialed { relay: None }, "the user has not named it");
        assert_eq!(known.remotes[0].to_string(), format!("/ip4/192.0.2.7/tcp/9/p2p/{B}"));
    }
}
