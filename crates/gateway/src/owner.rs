//! Whose a connection to a peer's loopback address is.
//!
//! Every process of the machine can connect there, and whoever does is joined to the
//! peer instead of kaspad. Linux lists the sockets of all users with their owners; only
//! kaspad's user and our own are let through.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The state of a listening socket in that list.
const LISTEN: &str = "0A";

/// The system's list of TCP sockets, in the format of proc_net_tcp(5); empty where
/// there is none, as on macOS. Takes milliseconds where there are very many.
pub(crate) fn sockets() -> io::Result<String> {
    if !cfg!(target_os = "linux") {
        return Ok(String::new());
    }
    let v4 = fs::read_to_string("/proc/net/tcp")?;
    // Not there if the system has no IPv6.
    Ok(v4 + &fs::read_to_string("/proc/net/tcp6").unwrap_or_default())
}

/// Whether the process that connected from `from` to our listener at `local` has the
/// user that listens at `kaspad`, or ours; why not. `sockets` is the system's list; an
/// empty one tells nothing, and then everybody may.
pub(crate) fn may_join(sockets: &str, kaspad: SocketAddr, local: SocketAddr, from: SocketAddr) -> Result<(), String> {
    if sockets.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row<'_>> = sockets.lines().filter_map(Row::parse).collect();
    let Some(owner) = rows.iter().find(|row| row.local == from && row.remote == local).map(|row| row.user) else {
        return Err(format!("the connection from {from} has no owner any more"));
    };
    let listens = |at: SocketAddr| rows.iter().filter(move |row| row.state == LISTEN && row.local == at);
    let kaspads_at = |ip: IpAddr| listens(SocketAddr::new(ip, kaspad.port()));
    // Beside a kaspad that listens on IPv4, anybody may listen on the same port of IPv6.
    let any = [kaspad.ip(), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let kaspads = any.into_iter().find_map(|ip| kaspads_at(ip).next());
    if kaspads.into_iter().chain(listens(local)).any(|row| row.user == owner) {
        return Ok(());
    }
    Err(format!("a process of user {owner} connected to its address {local}: only kaspad's user and this program's may"))
}

struct Row<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
    user: u32,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (address(fields.next()?)?, address(fields.next()?)?, fields.next()?);
        let user = fields.nth(3)?.parse().ok()?;
        Some(Self { local, remote, state, user })
    }
}

/// `0100007F:1F90`: words in the machine's own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for n in 0..4 {
                bytes[4 * n..4 * n + 4].copy_from_slice(&word(8 * n)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn hex(address: &str) -> String {
        let address: SocketAddr = address.parse().unwrap();
        let ip = match address.ip() {
            IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => {
                let words = ip.octets();
                words.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap()))).collect()
            }
        };
        format!("{ip}:{:04X}", address.port())
    }

    fn row(local: &str, remote: &str, state: &str, user: u32) -> String {
        let (local, remote) = (hex(local), hex(remote));
        format!("   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {user:5}        0 4242 1 0 100 0 0 10 0\n")
    }

    fn asked(rows: &[String]) -> Result<(), String> {
        let [kaspad, local, from] =
            ["127.0.0.1:16111", "127.80.1.2:16112", "127.0.0.1:50000"].map(|address| address.parse().unwrap());
        may_join(&(HEAD.to_owned() + &rows.concat()), kaspad, local, from)
    }

    #[test]
    fn kaspads_user_and_ours_may_and_others_may_not() {
        let ours = row("127.80.1.2:16112", "0.0.0.0:0", "0A", 1000);
        let connected = |user| row("127.0.0.1:50000", "127.80.1.2:16112", "01", user);
        for kaspad in ["127.0.0.1:16111", "0.0.0.0:16111", "[::]:16111"] {
            let remote = if kaspad.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let rows = |user| [ours.clone(), row(kaspad, remote, "0A", 1001), connected(user)];
            assert_eq!([asked(&rows(1000)), asked(&rows(1001))], [Ok(()), Ok(())], "{kaspad}");
            assert!(asked(&rows(1002)).unwrap_err().contains("user 1002"));
        }
        let beside = row("[::]:16111", "[::]:0", "0A", 1002);
        let rows = [beside, ours.clone(), row("0.0.0.0:16111", "0.0.0.0:0", "0A", 1001), connected(1002)];
        assert!(asked(&rows).is_err(), "kaspad's port of IPv6 alone is anybody's");
        // Listening elsewhere, or only being connected to kaspad's port, makes nobody kaspad.
        let elsewhere = row("127.0.0.1:16112", "0.0.0.0:0", "0A", 1002);
        let client = row("127.0.0.1:16111", "127.0.0.1:9", "01", 1002);
        assert!(asked(&[ours.clone(), elsewhere, client, connected(1002)]).is_err());
        assert!(asked(&[ours]).unwrap_err().contains("no owner"));
        assert_eq!(may_join("", "[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap(), "[::1]:3".parse().unwrap()), Ok(()));
    }

    #[test]
    fn what_is_no_list_lets_nobody_in_and_harms_nobody() {
        for junk in ["x", "1: zz:zz 00:00 0A", "1: 0100007F:1F90", "1: 0100007FFF:1F90 0:0 01 a b c d", "é: éééé:é"] {
            assert!(asked(&[junk.to_owned()]).is_err());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_systems_own_list_is_understood() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let connection = std::net::TcpStream::connect(local).unwrap();
        let nowhere = "127.0.0.1:1".parse().unwrap();
        assert_eq!(may_join(&sockets().unwrap(), nowhere, local, connection.local_addr().unwrap()), Ok(()));
    }
}
