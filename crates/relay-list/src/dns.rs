//! TXT records, from the name servers of the system.

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{Name, RData},
};

/// Time for one lookup at one server, and how often it is tried.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;
/// TXT records of one answer that are taken.
const MAX_RECORDS: usize = 256;

/// The TXT records of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxtRecords {
    /// Each record's text.
    pub strings: Vec<Vec<u8>>,
    /// How long they may be believed.
    pub valid_for: Duration,
}

/// Looks up TXT records.
#[async_trait]
pub trait Txt: Send + Sync {
    /// Those of a name, or in words why there are none. Dropping the future is safe.
    async fn txt(&self, name: &str) -> Result<TxtRecords, String>;
}

/// Asks the system's name servers, or one that is given.
#[derive(Clone, Debug, Default)]
pub struct DnsTxt {
    server: Option<SocketAddr>,
}

impl DnsTxt {
    /// Those of the system, by what its configuration says at each lookup: a laptop
    /// changes networks.
    pub fn system() -> Self {
        Self::default()
    }

    /// Only this one.
    pub fn at(server: SocketAddr) -> Self {
        Self { server: Some(server) }
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut builder = match self.server {
            None => TokioResolver::builder_tokio().map_err(|error| format!("the system's name servers: {error}"))?,
            Some(server) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (TIMEOUT, ATTEMPTS);
        // Each reading asks anew: when that is, is decided elsewhere.
        options.cache_size = 0;
        builder.build().map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Txt for DnsTxt {
    async fn txt(&self, name: &str) -> Result<TxtRecords, String> {
        // With a dot at its end, so that no search domain is appended.
        let query = Name::from_ascii(format!("{name}.")).map_err(|error| format!("{name}: {error}"))?;
        let resolver = self.resolver()?;
        let found = resolver.txt_lookup(query).await.map_err(|error| match error.is_no_records_found() {
            true => format!("{name} has no TXT record"),
            false => format!("{name}: {error}"),
        })?;
        let mut records = TxtRecords { strings: Vec::new(), valid_for: Duration::MAX };
        for record in found.answers().iter().take(MAX_RECORDS) {
            if let RData::TXT(txt) = &record.data {
                records.strings.push(txt.txt_data.concat());
                records.valid_for = records.valid_for.min(Duration::from_secs(record.ttl.into()));
            }
        }
        Ok(records)
    }
}
