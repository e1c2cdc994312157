//! Which names are asked, and what their TXT strings say.
//!
//! A TXT record of `_dnsaddr.NAME` holds `dnsaddr=` and an address, which may be another
//! name. DNS is not authenticated: who controls the answer chooses candidates, and they
//! count as one source. So the walk is bounded in each direction.

use std::collections::{BTreeMap, VecDeque};

use kaspath_domain::{PeerIdentity, PeerLocator, RelayAddress, TransportAddress, is_dns_name, is_public};

/// From the first name on; what a name at the last one names is not asked.
const MAX_DEPTH: usize = 2;
const MAX_LOOKUPS: usize = 16;
const MAX_ADDRESSES: usize = 64;
const MAX_OF_RELAY: usize = 8;
const MAX_RELAYS: usize = 32;
/// Bytes of one TXT string.
const MAX_STRING: usize = 1024;
/// TXT strings of one answer that are looked at.
const MAX_STRINGS: usize = 256;

/// A name to ask.
#[derive(Debug)]
struct Question {
    name: String,
    /// Only this relay's addresses count.
    relay: Option<PeerIdentity>,
    depth: usize,
}

/// A walk from one name to the addresses behind it.
#[derive(Debug)]
pub(crate) struct Walk {
    waiting: VecDeque<Question>,
    asked: Vec<String>,
    current: Option<Question>,
    found: Vec<RelayAddress>,
    of_relay: BTreeMap<PeerIdentity, usize>,
}

impl Walk {
    /// From this name. If `relay` is given, only its addresses count.
    pub(crate) fn new(name: &str, relay: Option<PeerIdentity>) -> Self {
        let first = Question { name: name.to_lowercase(), relay, depth: 0 };
        Self { waiting: [first].into(), asked: Vec::new(), current: None, found: Vec::new(), of_relay: BTreeMap::new() }
    }

    /// The name whose TXT records are wanted next; [`Walk::answered`] follows, or nothing.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.current = None;
        while let Some(question) = self.waiting.pop_front() {
            if self.asked.len() >= MAX_LOOKUPS {
                return None;
            }
            if !self.asked.contains(&question.name) {
                let name = format!("_dnsaddr.{}", question.name);
                self.asked.push(question.name.clone());
                self.current = Some(question);
                return Some(name);
            }
        }
        None
    }

    /// The TXT strings of the name that was asked.
    pub(crate) fn answered<'a>(&mut self, strings: impl Iterator<Item = &'a [u8]>) {
        let Some(Question { relay, depth, .. }) = self.current.take() else { return };
        for string in strings.take(MAX_STRINGS) {
            match entry(string) {
                Some(Entry::Relay(address)) if relay.as_ref().is_none_or(|only| *only == address.relay) => self.take(address),
                // Of two relays nothing can be meant.
                Some(Entry::Name(name, of))
                    if depth < MAX_DEPTH
                        && self.waiting.len() < MAX_LOOKUPS
                        && (relay.is_none() || of.is_none() || relay == of) =>
                {
                    self.waiting.push_back(Question { name, relay: of.or_else(|| relay.clone()), depth: depth + 1 });
                }
                _ => {}
            }
        }
    }

    /// The addresses so far, in the order in which they were told.
    pub(crate) fn found(self) -> Vec<RelayAddress> {
        self.found
    }

    fn take(&mut self, address: RelayAddress) {
        let is_new = !self.of_relay.contains_key(&address.relay);
        if self.found.contains(&address) || self.found.len() >= MAX_ADDRESSES || (is_new && self.of_relay.len() >= MAX_RELAYS) {
            return;
        }
        let count = self.of_relay.entry(address.relay.clone()).or_default();
        if *count < MAX_OF_RELAY {
            *count += 1;
            self.found.push(address);
        }
    }
}

enum Entry {
    Relay(RelayAddress),
    Name(String, Option<PeerIdentity>),
}

/// What one string says; `None` if it says nothing that is of use here.
fn entry(string: &[u8]) -> Option<Entry> {
    if string.len() > MAX_STRING {
        return None;
    }
    let address = std::str::from_utf8(string).ok()?.strip_prefix("dnsaddr=")?;
    if let Some(rest) = address.strip_prefix("/dnsaddr/") {
        let (name, relay) = name(rest)?;
        return Some(Entry::Name(name, relay));
    }
    let locator: PeerLocator = address.parse().ok()?;
    // A relay behind a relay is none. Whoever answers for the name must not choose what this
    // host dials in its own network, and a name could lead there as well.
    let is_public = locator.address.direct().and_then(TransportAddress::ip).is_some_and(is_public);
    is_public.then(|| locator.relay()).flatten().map(Entry::Relay)
}

/// `NAME` or `NAME/p2p/ID`.
pub(crate) fn name(text: &str) -> Option<(String, Option<PeerIdentity>)> {
    let (name, relay) = match text.split_once('/') {
        Some((name, rest)) => (name, Some(rest.strip_prefix("p2p/")?.parse().ok()?)),
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    is_dns_name(&name).then_some((name, relay))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RELAYS: [&str; 2] =
        ["12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"];

    fn at(host: u8, relay: usize) -> String {
        format!("dnsaddr=/ip4/203.0.113.{host}/tcp/4001/p2p/{}", RELAYS[relay])
    }

    fn answer(walk: &mut Walk, strings: &[String]) {
        walk.answered(strings.iter().map(|string| string.as_bytes()));
    }

    #[test]
    fn addresses_with_a_peer_id_are_taken_and_all_else_is_ignored() {
        let mut walk = Walk::new("Relays.example", None);
        assert_eq!(walk.next().as_deref(), Some("_dnsaddr.relays.example"));
        let circuit = format!("{}/p2p-circuit/p2p/{}", at(9, 0), RELAYS[1]);
        let strings = [at(1, 0), "v=spf1 -all".into(), "dnsaddr=/ip4/203.0.113.7/tcp/1".into(), circuit, at(2, 1), at(1, 0)];
        answer(&mut walk, &strings);
        assert_eq!(walk.next(), None);
        let found: Vec<String> = walk.found().iter().map(|address| format!("dnsaddr={address}")).collect();
        assert_eq!(found, [at(1, 0), at(2, 1)]);
    }

    #[test]
    fn a_name_leads_to_no_host_of_our_own_network() {
        let hosts = ["ip4/127.0.0.1", "ip4/192.168.1.1", "ip4/169.254.169.254", "ip6/::1", "ip6/fe80::1", "ip6/::ffff:10.0.0.1"];
        let mut strings: Vec<String> = hosts.map(|host| format!("dnsaddr=/{host}/tcp/4001/p2p/{}", RELAYS[0])).into();
        strings.push(format!("dnsaddr=/dns/intranet.example/tcp/4001/p2p/{}", RELAYS[0]));
        let mut walk = Walk::new("a.example", None);
        walk.next();
        answer(&mut walk, &strings);
        assert_eq!(walk.found(), []);
    }

    #[test]
    fn names_lead_on_with_their_filter_but_neither_deep_nor_in_circles() {
        let mut walk = Walk::new("a.example", None);
        walk.next();
        answer(&mut walk, &[format!("dnsaddr=/dnsaddr/b.example/p2p/{}", RELAYS[1]), "dnsaddr=/dnsaddr/A.example.".into()]);
        assert_eq!(walk.next().as_deref(), Some("_dnsaddr.b.example"));
        answer(&mut walk, &[at(1, 0), at(2, 1), "dnsaddr=/dnsaddr/c.example".into()]);
        assert_eq!(walk.next().as_deref(), Some("_dnsaddr.c.example"), "not a.example again");
        answer(&mut walk, &[at(3, 0), at(4, 1), "dnsaddr=/dnsaddr/d.example".into()]);
        assert_eq!(walk.next(), None, "too deep");
        let found: Vec<String> = walk.found().iter().map(|address| format!("dnsaddr={address}")).collect();
        assert_eq!(found, [at(2, 1), at(4, 1)]);
    }

    #[test]
    fn ten_thousand_strings_and_names_without_end_are_cut_off() {
        let mut walk = Walk::new("a.example", None);
        let mut asked = 0;
        while walk.next().is_some() {
            asked += 1;
            let names = (0..5_000).map(|n| format!("dnsaddr=/dnsaddr/n{asked}-{n}.example"));
            answer(&mut walk, &(0..5_000).map(|n| at((n % 250) as u8, 0)).chain(names).collect::<Vec<_>>());
        }
        assert!(asked <= MAX_LOOKUPS);
        assert_eq!(walk.found().len(), MAX_OF_RELAY, "of one relay");
        let long = format!("dnsaddr=/dnsaddr/{}", "a.".repeat(1000));
        assert!(entry(long.as_bytes()).is_none());
        for wrong in ["", ".", "a..b", "a b", "a/b", "ä.example", &"a".repeat(64)] {
            assert!(name(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_bounds(strings in prop::collection::vec(".{0,80}", 0..50)) {
            let texts: Vec<String> = strings.iter().map(|text| format!("dnsaddr={text}")).collect();
            let bytes: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            crate::fuzz::dnsaddr(&bytes);
        }
    }
}
