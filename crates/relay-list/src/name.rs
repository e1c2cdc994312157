use std::time::Duration;

use async_trait::async_trait;
use kaspath_domain::{PeerIdentity, RelayList, RelayListError, RelayListing};
use tokio::time::timeout;

use crate::{
    dns::{DnsTxt, Txt, TxtRecords},
    dnsaddr::Walk,
};

/// Time for all lookups of one reading.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A name whose TXT records list relays, as libp2p's `/dnsaddr/` does.
pub struct ListName<T = DnsTxt> {
    name: String,
    relay: Option<PeerIdentity>,
    records: T,
}

impl<T: Txt> ListName<T> {
    /// The list at a name; if `relay` is given, only its addresses count.
    pub fn new(name: String, relay: Option<PeerIdentity>, records: T) -> Self {
        Self { name, relay, records }
    }

    async fn walk(&self) -> Result<RelayListing, RelayListError> {
        let mut walk = Walk::new(&self.name, self.relay.clone());
        let (mut valid_for, mut failure) = (Duration::MAX, None);
        while let Some(name) = walk.next() {
            match self.records.txt(&name).await {
                Ok(TxtRecords { strings, valid_for: by_this }) => {
                    valid_for = valid_for.min(by_this);
                    walk.answered(strings.iter().map(Vec::as_slice));
                }
                // Another name may still lead to a relay.
                Err(cause) => {
                    failure.get_or_insert(cause);
                }
            }
        }
        let relays = walk.found();
        match failure {
            _ if !relays.is_empty() => Ok(RelayListing { relays, valid_for }),
            Some(cause) => Err(RelayListError::Unreadable(cause)),
            None => Err(RelayListError::Empty),
        }
    }
}

#[async_trait]
impl<T: Txt> RelayList for ListName<T> {
    fn source(&self) -> String {
        self.name.clone()
    }

    async fn read(&self) -> Result<RelayListing, RelayListError> {
        let late = || RelayListError::Unreadable(format!("no answer within {TIMEOUT:?}"));
        timeout(TIMEOUT, self.walk()).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    struct Zone(HashMap<&'static str, (Vec<String>, u64)>);

    #[async_trait]
    impl Txt for Zone {
        async fn txt(&self, name: &str) -> Result<TxtRecords, String> {
            let (strings, ttl) = self.0.get(name).ok_or_else(|| format!("{name} has no TXT record"))?;
            let strings = strings.iter().map(|text| text.clone().into_bytes()).collect();
            Ok(TxtRecords { strings, valid_for: Duration::from_secs(*ttl) })
        }
    }

    async fn read(zone: &[(&'static str, &[&str], u64)]) -> Result<RelayListing, RelayListError> {
        let strings = |strings: &[&str]| strings.iter().map(|text| text.replace("ID", RELAY)).collect();
        let zone = Zone(zone.iter().map(|(name, texts, ttl)| (*name, (strings(texts), *ttl))).collect());
        ListName::new("a.example".into(), None, zone).read().await
    }

    #[tokio::test]
    async fn the_shortest_time_of_all_answers_counts_and_one_broken_branch_does_no_harm() {
        let first: &[&str] =
            &["dnsaddr=/dnsaddr/gone.example", "dnsaddr=/dnsaddr/b.example", "dnsaddr=/ip4/203.0.113.1/tcp/4001/p2p/ID"];
        let second: &[&str] = &["dnsaddr=/ip6/2001:db8::1/udp/4001/quic-v1/p2p/ID"];
        let listing = read(&[("_dnsaddr.a.example", first, 900), ("_dnsaddr.b.example", second, 60)]).await.unwrap();
        assert_eq!((listing.relays.len(), listing.valid_for), (2, Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_and_one_that_is_empty_are_told_apart() {
        let missing = read(&[]).await.unwrap_err();
        assert_eq!(missing, RelayListError::Unreadable("_dnsaddr.a.example has no TXT record".into()));
        assert_eq!(read(&[("_dnsaddr.a.example", &["hello"], 60)]).await.unwrap_err(), RelayListError::Empty);
    }
}
