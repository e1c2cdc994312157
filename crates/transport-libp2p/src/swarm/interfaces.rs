//! The addresses of this host, as the system has them.

use std::{
    fs,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use if_watch::{IfEvent, IpNet, tokio::IfWatcher};
use kaspath_domain::TransportAddress;

use crate::core::{Interfaces, Network};

/// Any addresses of the Internet: to see what packets there would leave from. None is sent.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Networks of ours that are kept; a host with more is a router.
const MAX_NETWORKS: usize = 64;

/// Watches the system's interfaces.
pub(super) struct InterfaceWatch {
    /// Gone once it has failed.
    watcher: Option<IfWatcher>,
    networks: Vec<IpNet>,
}

impl InterfaceWatch {
    /// Must be called within a tokio runtime.
    pub(super) fn start() -> Self {
        let watcher =
            IfWatcher::new().inspect_err(|error| tracing::warn!(%error, "the system does not tell its interfaces")).ok();
        Self { watcher, networks: Vec::new() }
    }

    /// Returns after each change. Dropping the future is safe.
    pub(super) async fn changed(&mut self) {
        let Some(watcher) = &mut self.watcher else { return std::future::pending().await };
        match poll_fn(|cx| watcher.poll_if_event(cx)).await {
            Ok(IfEvent::Up(network)) => {
                if !self.networks.contains(&network) && self.networks.len() < MAX_NETWORKS {
                    self.networks.push(network);
                }
            }
            Ok(IfEvent::Down(network)) => self.networks.retain(|other| *other != network),
            Err(error) => {
                tracing::warn!(%error, "the system does not tell its interfaces any more");
                (self.watcher, self.networks) = (None, Vec::new());
            }
        }
    }

    /// All that is known, given where we listen.
    pub(super) fn with(&self, listening: Vec<TransportAddress>) -> Interfaces {
        let network = |network: &IpNet| Network { ip: network.addr(), length: network.prefix_len() };
        Interfaces {
            networks: self.networks.iter().map(network).collect(),
            listening,
            sources: ELSEWHERE.into_iter().filter_map(source).collect(),
            gateways: fs::read_to_string("/proc/net/route").map(|routes| gateways(&routes)).unwrap_or_default(),
        }
    }
}

/// What a packet to `there` would leave from.
fn source(there: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(SocketAddr::new(there, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The routers in Linux's table of IPv4 routes. Those of IPv6 are link-local, which nobody names.
fn gateways(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let bits = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok().filter(|bits| *bits != 0)?;
        // In the order in which the machine has the bytes in memory.
        Some(IpAddr::from(bits.to_ne_bytes()))
    };
    routes.lines().skip(1).filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_are_read_from_the_systems_table() {
        let router = u32::from_ne_bytes([192, 168, 1, 1]);
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{router:08X}\t0003\neth0\t0001A8C0\t00000000\t0001\n\nx"
        );
        assert_eq!(gateways(&table), [IpAddr::from([192, 168, 1, 1])]);
        assert_eq!(gateways(""), Vec::<IpAddr>::new());
    }

    #[tokio::test]
    async fn this_host_has_at_least_its_loopback() {
        let mut watch = InterfaceWatch::start();
        let loopback = |watch: &InterfaceWatch| watch.networks.iter().any(|network| network.addr().is_loopback());
        let seen = async {
            while !loopback(&watch) {
                watch.changed().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), seen).await.expect("the system tells");
        let listening = kaspath_domain::TransportAddress::tcp(([127, 0, 0, 1], 7).into());
        let interfaces = watch.with(vec![listening.clone()]);
        assert_eq!(interfaces.listening, [listening]);
        assert!(interfaces.networks.iter().any(|network| network.ip.is_loopback() && network.length == 8));
    }
}
