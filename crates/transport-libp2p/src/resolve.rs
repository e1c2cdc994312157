//! Names to addresses.

use std::{fmt, future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kaspath_domain::{DialError, Host, TransportAddress};
use tokio::{net::lookup_host, sync::Semaphore, time::timeout};

/// Addresses of one name that are dialled.
const MAX_RESOLVED: usize = 8;
/// Lookups under way at once; the system's run on a thread each.
const MAX_LOOKUPS: usize = 16;
/// Time for one, waiting for its turn included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Looks names up for a [`crate::Network`]. Cheap to clone; the clones share one
/// bound on what is under way.
#[derive(Clone)]
pub struct Resolver {
    lookup: Arc<Lookup>,
    slots: Arc<Semaphore>,
}

impl Resolver {
    /// By the system, so that /etc/hosts and the user's resolver count.
    pub fn system() -> Self {
        Self::new(|name: String| async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|socket| socket.ip()).collect())
        })
    }

    /// By a function of the caller's, which is given the name.
    pub fn new<F, A>(lookup: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self { lookup: Arc::new(move |name| Box::pin(lookup(name))), slots: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The literal addresses of an address. Dropping the future is safe; a lookup that has
    /// begun keeps its slot until it ends.
    pub(crate) async fn resolve(&self, address: &TransportAddress) -> Result<Vec<TransportAddress>, DialError> {
        let literal = |ip: IpAddr| TransportAddress { host: Host::Ip(ip), ..address.clone() };
        let name = match &address.host {
            Host::Ip(ip) => return Ok(vec![literal(*ip)]),
            Host::Dns(name) => name,
        };
        let failed = |cause: String| DialError::Resolve { host: name.clone(), cause };
        let lookup = async {
            let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            let lookup = (self.lookup)(name.clone());
            // A task of its own: the system's lookup cannot be cancelled, so its slot must not be free before.
            let task = tokio::spawn(async move {
                let found = lookup.await;
                drop(slot);
                found
            });
            task.await.map_err(io::Error::other)?
        };
        let found = timeout(LOOKUP_TIMEOUT, lookup)
            .await
            .map_err(|_| failed(format!("no answer within {LOOKUP_TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        let mut resolved: Vec<TransportAddress> = Vec::new();
        for address in found.into_iter().map(literal) {
            if !resolved.contains(&address) && resolved.len() < MAX_RESOLVED {
                resolved.push(address);
            }
        }
        if resolved.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(resolved) }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn address(text: &str) -> TransportAddress {
        let locator: kaspath_domain::PeerLocator = text.parse().unwrap();
        let kaspath_domain::PeerAddress::Direct(address) = locator.address else { panic!("direct") };
        address
    }

    #[tokio::test]
    async fn literals_are_not_looked_up() {
        let resolver = Resolver::new(|name| async move { panic!("{name} was looked up") });
        let resolved = resolver.resolve(&address("/ip4/198.51.100.1/tcp/7")).await.unwrap();
        assert_eq!(resolved, [address("/ip4/198.51.100.1/tcp/7")]);
    }

    #[tokio::test]
    async fn addresses_of_a_name_are_bounded_and_distinct() {
        let many = (0..100_u8).flat_map(|n| [IpAddr::from([198, 51, 100, n]); 2]).collect::<Vec<_>>();
        let resolver = Resolver::new(move |_| std::future::ready(Ok(many.clone())));
        let resolved = resolver.resolve(&address("/dns/relay.example/udp/7/quic-v1")).await.unwrap();
        assert_eq!(resolved.len(), MAX_RESOLVED);
        assert_eq!(resolved[1], address("/ip4/198.51.100.1/udp/7/quic-v1"));
    }

    #[tokio::test]
    async fn a_failure_names_the_host_and_the_cause() {
        let resolver = Resolver::new(|_| std::future::ready(Err(io::Error::other("name server unreachable"))));
        let error = resolver.resolve(&address("/dns/relay.example/tcp/7")).await.unwrap_err();
        assert_eq!(error.to_string(), "relay.example did not resolve: name server unreachable");
        let resolver = Resolver::new(|_| std::future::ready(Ok(Vec::new())));
        let error = resolver.resolve(&address("/dns/relay.example/tcp/7")).await.unwrap_err();
        assert_eq!(error.to_string(), "relay.example did not resolve: it has no address");
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_hang_time_out_and_no_more_than_a_few_are_begun() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let resolver = Resolver::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        });
        let dns = address("/dns/relay.example/tcp/7");
        let all = futures::future::join_all((0..100).map(|_| resolver.resolve(&dns))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(begun.load(Ordering::SeqCst), MAX_LOOKUPS);
    }
}
