//! PCP and NAT-PMP, over UDP to the gateway's port 5351.
//!
//! The sockets are connected, so that answers of other hosts never get here. An answer that
//! is malformed, or of PCP with another nonce than ours, fails the question.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, RECOMMENDED_MAPPING_LIFETIME_SECONDS, TimeoutConfig,
    natpmp, pcp,
};
use kaspath_domain::{MapProtocol, MapRequest};
use tokio::try_join;

use crate::{machine::Granted, route::Route};

/// A request is sent twice, and both answers together are waited for less than 500 ms.
const TIMES: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(160), max_retries: 1, max_retry_timeout: None };

/// What proves to a PCP server that a mapping is ours, also after a restart: a router
/// refuses anybody else until the lifetime is over.
#[derive(Clone, Copy)]
pub(crate) struct Nonce([u32; 3]);

impl Nonce {
    /// From bytes that nobody else can know.
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        let word = |at: usize| u32::from_be_bytes([secret[at], secret[at + 1], secret[at + 2], secret[at + 3]]);
        Self([word(0), word(4), word(8)])
    }

    fn for_port(self, request: MapRequest) -> [u32; 3] {
        let [first, second, third] = self.0;
        [first, second, third ^ ((request.protocol as u32) << 16 | u32::from(request.port))]
    }
}

fn protocol(request: MapRequest) -> InternetProtocol {
    match request.protocol {
        MapProtocol::Tcp => InternetProtocol::Tcp,
        MapProtocol::Udp => InternetProtocol::Udp,
    }
}

fn port(request: MapRequest) -> Result<NonZeroU16, String> {
    NonZeroU16::new(request.port).ok_or_else(|| "port 0 cannot be mapped".to_owned())
}

fn options(external: u16) -> PortMappingOptions {
    let lifetime_seconds = Some(RECOMMENDED_MAPPING_LIFETIME_SECONDS);
    PortMappingOptions { external_port: NonZeroU16::new(external), lifetime_seconds, timeout_config: Some(TIMES) }
}

fn granted(external: IpAddr, mapping: &PortMapping) -> Granted {
    Granted {
        external: SocketAddr::new(external, mapping.external_port().get()),
        lifetime: Duration::from_secs(u64::from(mapping.lifetime())),
        epoch: Some(mapping.gateway_epoch()),
    }
}

/// Maps by PCP.
pub(crate) async fn map(route: Route, request: MapRequest, external: u16, nonce: Nonce) -> Result<Granted, String> {
    let base = pcp::BaseMapRequest::new(route.gateway.into(), IpAddr::V4(route.local), protocol(request), port(request)?);
    let mapping = pcp::port_mapping(base, Some(nonce.for_port(request)), None, options(external)).await;
    let mapping = mapping.map_err(|failure| pcp_cause(&failure))?;
    let PortMappingType::Pcp { external_ip, .. } = mapping.mapping_type() else {
        return Err("an answer of another protocol".to_owned());
    };
    Ok(granted(external_ip, &mapping))
}

/// Removes what PCP mapped.
pub(crate) async fn remove(route: Route, request: MapRequest, nonce: Nonce) -> Result<(), String> {
    let one = pcp::DropMappingRange::Single { internal_port: port(request)?, protocol: protocol(request) };
    let (gateway, client) = (route.gateway.into(), IpAddr::V4(route.local));
    let removed = pcp::try_drop_mapping(gateway, client, nonce.for_port(request), one, Some(TIMES)).await;
    removed.map_err(|failure| pcp_cause(&failure))
}

/// Whether the router speaks NAT-PMP.
pub(crate) async fn find_natpmp(route: Route) -> Result<(), String> {
    let address = natpmp::external_address(route.gateway.into(), Some(TIMES)).await;
    address.map(drop).map_err(|failure| natpmp_cause(&failure))
}

/// Maps by NAT-PMP.
pub(crate) async fn map_natpmp(route: Route, request: MapRequest, external: u16) -> Result<Granted, String> {
    let gateway = route.gateway.into();
    let mapping = natpmp::port_mapping(gateway, protocol(request), port(request)?, options(external));
    let address = natpmp::external_address(gateway, Some(TIMES));
    let (mapping, address) = try_join!(mapping, address).map_err(|failure| natpmp_cause(&failure))?;
    Ok(granted(address.into(), &mapping))
}

/// Removes what NAT-PMP mapped.
pub(crate) async fn remove_natpmp(route: Route, request: MapRequest) -> Result<(), String> {
    let removed = natpmp::try_drop_mapping(route.gateway.into(), protocol(request), Some(port(request)?), Some(TIMES)).await;
    removed.map_err(|failure| natpmp_cause(&failure))
}

fn pcp_cause(failure: &pcp::Failure) -> String {
    match failure {
        pcp::Failure::Timeout => "no answer".to_owned(),
        other => other.to_string(),
    }
}

fn natpmp_cause(failure: &natpmp::Failure) -> String {
    match failure {
        natpmp::Failure::Timeout => "no answer".to_owned(),
        other => other.to_string(),
    }
}
