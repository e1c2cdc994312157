//! The way out of this network: the default gateway, and our address towards it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

/// A default gateway of IPv4, and our own address on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) gateway: Ipv4Addr,
    pub(crate) local: Ipv4Addr,
}

/// The kernel's table of this process's network namespace; other systems have none.
const TABLE: &str = "/proc/self/net/route";
/// Flags of a route that is in use, and leads through a gateway.
const UP_AND_GATEWAY: u32 = 0x1 | 0x2;

impl Route {
    /// Reads the system's default route. Nothing is sent.
    pub(crate) fn read() -> Option<Self> {
        Self::through(default_gateway(&fs::read_to_string(TABLE).ok()?)?)
    }

    /// A route through this gateway.
    pub(crate) fn through(gateway: Ipv4Addr) -> Option<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((gateway, crab_nat::GATEWAY_PORT)).ok()?;
        match socket.local_addr().ok()? {
            SocketAddr::V4(local) => Some(Self { gateway, local: *local.ip() }),
            SocketAddr::V6(_) => None,
        }
    }
}

/// The gateway of the default route with the lowest metric.
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    let hex = |field: &str| u32::from_str_radix(field, 16).ok();
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let is_default = hex(destination)? == 0 && hex(mask)? == 0 && hex(flags)? & UP_AND_GATEWAY == UP_AND_GATEWAY;
        // The table has the bytes of the address as a number of this machine.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        (is_default && !gateway.is_unspecified()).then_some((metric.parse::<u32>().ok()?, gateway))
    };
    table.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn line(destination: u32, gateway: [u8; 4], flags: u32, metric: u32) -> String {
        let gateway = u32::from_ne_bytes(gateway);
        format!("eth0\t{destination:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{metric}\t{destination:08X}\t0\t0\t0\n")
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let local = line(0x00FF_FFFF, [0, 0, 0, 0], 1, 0);
        let table = format!("{HEAD}{}{}{local}", line(0, [10, 0, 0, 1], 3, 600), line(0, [192, 168, 1, 1], 3, 100));
        assert_eq!(default_gateway(&table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        let down = line(0, [192, 168, 1, 1], 2, 0);
        let link = line(0, [0, 0, 0, 0], 1, 0);
        for table in ["", HEAD, &down, &link, &local, "a b c\n\0\n"] {
            assert_eq!(default_gateway(table), None, "{table}");
        }
    }

    #[test]
    fn our_address_is_that_on_the_way_to_the_gateway() {
        let gateway = Ipv4Addr::new(127, 9, 9, 9);
        assert_eq!(Route::through(gateway), Some(Route { gateway, local: Ipv4Addr::LOCALHOST }));
    }
}
