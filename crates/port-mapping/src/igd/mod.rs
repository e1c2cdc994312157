//! UPnP IGD: found by SSDP, asked by SOAP. Only the default gateway is believed.

mod description;
mod http;
mod search;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use igd_next::{
    AddPortError, PortMappingProtocol, RequestError,
    aio::{Gateway, Provider},
};
use kaspath_domain::{MapProtocol, MapRequest};

use crate::{machine::Granted, route::Route};

/// What the router's list of ports shows.
const DESCRIPTION: &str = "kaspath";
/// Longer leases are cut or refused by many routers.
const LONGEST_LEASE: Duration = Duration::from_secs(3600);
/// Ports tried outside, if the one that is wanted is somebody else's.
const TRIES: u32 = 4;
/// What IGD 2 answers if the port is taken by something else than IGD; it has no name in `igd-next`.
const TAKEN_OTHERWISE: u16 = 729;
/// Elements in an answer to a SOAP request. The parser that reads it recurses for each level.
const MAX_ELEMENTS: usize = 64;

/// A router that speaks IGD.
#[derive(Clone, Debug)]
pub(crate) struct Router(Gateway<Soap>);

/// SOAP over HTTP with limits.
#[derive(Clone, Debug)]
struct Soap;

#[async_trait]
impl Provider for Soap {
    async fn send_async(url: &str, action: &str, body: &str) -> Result<String, RequestError> {
        let invalid = RequestError::InvalidResponse;
        let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap_or((url, ""));
        let host: SocketAddr = host.parse().map_err(|_| invalid("no address".to_owned()))?;
        let text = http::post(host, &format!("/{path}"), action, body).await.map_err(invalid)?;
        if is_simple(&text) { Ok(text) } else { Err(invalid("an answer of another form".to_owned())) }
    }
}

/// Whether a document has few elements, and no declarations.
fn is_simple(xml: &str) -> bool {
    let tags = xml.split('<').skip(1).filter(|tag| !tag.starts_with(['/', '?']));
    !xml.contains("<!") && tags.count() <= MAX_ELEMENTS
}

/// Looks for a router that speaks IGD at the gateway's address.
pub(crate) async fn find(route: Route) -> Result<Router, String> {
    let location = search::location(route.gateway).await?;
    let document = http::get(location.host, &location.path).await?;
    let control = description::control_path(&document, location.host).ok_or("it has no connection to the outside")?;
    Ok(Router(Gateway {
        addr: control.host,
        root_url: location.path,
        control_url: control.path,
        control_schema_url: String::new(),
        control_schema: schema(),
        provider: Soap,
    }))
}

/// The arguments of the actions that are used, in the order of the standard. Actions that
/// are missing here are not used, though a router may have them.
fn schema() -> HashMap<String, Vec<String>> {
    let action =
        |name: &str, arguments: &[&str]| (name.to_owned(), arguments.iter().map(|argument| format!("New{argument}")).collect());
    let add = [
        "RemoteHost",
        "ExternalPort",
        "Protocol",
        "InternalPort",
        "InternalClient",
        "Enabled",
        "PortMappingDescription",
        "LeaseDuration",
    ];
    HashMap::from([action("AddPortMapping", &add), action("DeletePortMapping", &["RemoteHost", "ExternalPort", "Protocol"])])
}

fn protocol(request: MapRequest) -> PortMappingProtocol {
    match request.protocol {
        MapProtocol::Tcp => PortMappingProtocol::TCP,
        MapProtocol::Udp => PortMappingProtocol::UDP,
    }
}

/// Maps a port; outside it is `wanted`, or another one if that is taken.
pub(crate) async fn map(router: &Router, route: Route, request: MapRequest, wanted: u16) -> Result<Granted, String> {
    let local = SocketAddr::new(route.local.into(), request.port);
    let mut lease = LONGEST_LEASE;
    let mut external = wanted;
    // Before the port: a router without an address outside maps nothing of use.
    let address = router.0.get_external_ip().await.map_err(|error| cause(&error))?;
    for _ in 0..TRIES {
        let seconds = u32::try_from(lease.as_secs()).unwrap_or_default();
        match router.0.add_port(protocol(request), external, local, seconds, DESCRIPTION).await {
            Ok(()) => {
                // One for ever is ours for as long as we ask for it, as any other.
                let lifetime = if lease.is_zero() { LONGEST_LEASE } else { lease };
                return Ok(Granted { external: SocketAddr::new(address, external), lifetime, epoch: None });
            }
            Err(AddPortError::OnlyPermanentLeasesSupported) if !lease.is_zero() => lease = Duration::ZERO,
            Err(AddPortError::SamePortValuesRequired) if external != request.port => external = request.port,
            Err(AddPortError::PortInUse | AddPortError::RequestError(RequestError::ErrorCode(TAKEN_OTHERWISE, _))) => {
                external = rand::random::<u16>() | 0x8000
            }
            Err(error) => return Err(cause(&error)),
        }
    }
    Err("the ports that were tried are taken".to_owned())
}

/// Removes what was mapped.
pub(crate) async fn remove(router: &Router, request: MapRequest, external: u16) -> Result<(), String> {
    router.0.remove_port(protocol(request), external).await.map_err(|error| cause(&error))
}

/// An answer to a search, a description, and an answer to SOAP.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let gateway = std::net::Ipv4Addr::new(192, 168, 1, 1);
    search::parse(bytes, gateway);
    description::control_path(&String::from_utf8_lossy(bytes), (gateway, 80).into());
    is_simple(&String::from_utf8_lossy(bytes));
}

/// Bytes of a cause; a router may have worded it.
const MAX_CAUSE: usize = 120;

fn cause(error: &impl std::fmt::Display) -> String {
    kaspath_domain::clean(&error.to_string(), MAX_CAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_deep_or_declares_something_is_not_parsed() {
        assert!(is_simple("<?xml version=\"1.0\"?><a><b></b><c/></a>"));
        assert!(!is_simple(&"<a>".repeat(MAX_ELEMENTS + 1)));
        assert!(!is_simple("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"));
        assert!(!is_simple("<a><!--</a>--></a>"));
    }
}
