//! SSDP: where the router's description is.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

/// SSDP's port and group.
const PORT: u16 = 1900;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// A search is sent once more after that time.
const AGAIN: Duration = Duration::from_millis(300);
/// Bytes of a path, and of an answer.
const MAX_PATH: usize = 256;
const MAX_ANSWER: usize = 1500;

/// A document or a service of a router.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) host: SocketAddr,
    pub(super) path: String,
}

impl Place {
    /// The place that a URL names, if it is at `host`'s IP address: any other may
    /// be a third party that is to be bothered. A path alone is at `host` itself.
    pub(super) fn parse(url: &str, host: SocketAddr) -> Option<Self> {
        let (host, path) = match url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            Some(_) => {
                let rest = url.get(7..)?;
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let with_port = authority.parse::<SocketAddr>().ok();
                let named = with_port.or_else(|| Some(SocketAddr::new(authority.parse::<IpAddr>().ok()?, 80)))?;
                (Some(named).filter(|named| named.ip() == host.ip() && named.port() != 0)?, path)
            }
            None => (host, url),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let is_plain = path.len() <= MAX_PATH && path.bytes().all(|byte| byte.is_ascii_graphic());
        is_plain.then_some(Self { host, path })
    }
}

/// Where the gateway says that its description is. Ends by itself only if it says so: the
/// caller bounds it. Answers of other hosts, and those that name another host, are not taken.
pub(super) async fn location(gateway: Ipv4Addr) -> Result<Place, String> {
    let failed = |error: std::io::Error| format!("cannot search: {error}");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(failed)?;
    let mut buffer = [0; MAX_ANSWER];
    loop {
        // The gateway itself is asked too: some networks do not pass multicast on.
        let sent = [
            socket.send_to(search().as_bytes(), (gateway, PORT)).await,
            socket.send_to(search().as_bytes(), (GROUP, PORT)).await,
        ];
        if let [Err(error), Err(_)] = sent {
            return Err(failed(error));
        }
        let again = Instant::now() + AGAIN;
        while let Ok(received) = timeout_at(again, socket.recv_from(&mut buffer)).await {
            // The system reports here that nobody listens at the gateway's port.
            let Ok((length, from)) = received else { continue };
            if from.ip() == gateway
                && let Some(place) = parse(&buffer[..length], gateway)
            {
                return Ok(place);
            }
        }
    }
}

fn search() -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: \
         urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
    )
}

/// What an answer to a search names.
pub(super) fn parse(answer: &[u8], gateway: Ipv4Addr) -> Option<Place> {
    let text = std::str::from_utf8(answer).ok()?;
    if !text.starts_with("HTTP/1.") {
        return None;
    }
    let url = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    let place = Place::parse(url, SocketAddr::new(gateway.into(), 0))?;
    // A path alone names no port.
    (place.host.port() != 0).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn answer(location: &str) -> Option<Place> {
        parse(format!("HTTP/1.1 200 OK\r\nST: x\r\nLocation: {location}\r\n\r\n").as_bytes(), GATEWAY)
    }

    #[test]
    fn only_the_gateway_itself_is_a_place_to_ask() {
        let place = |host: &str, path: &str| Some(Place { host: host.parse().unwrap(), path: path.to_owned() });
        assert_eq!(answer("http://192.168.1.1:5000/rootDesc.xml"), place("192.168.1.1:5000", "/rootDesc.xml"));
        assert_eq!(answer("HTTP://192.168.1.1"), place("192.168.1.1:80", "/"));
        for hostile in [
            "http://192.168.1.2:5000/rootDesc.xml",
            "http://victim.example/",
            "http://192.168.1.1:5000@victim.example/",
            "http://192.168.1.1:0/",
            "http://192.168.1.1:99999/",
            "https://192.168.1.1/",
            "file:///etc/passwd",
            "/rootDesc.xml",
            "http://192.168.1.1:5000/a b",
            "",
        ] {
            assert_eq!(answer(hostile), None, "{hostile}");
        }
        assert_eq!(answer(&format!("http://192.168.1.1:5000/{}", "a".repeat(MAX_PATH))), None);
        assert_eq!(parse(b"NOTIFY * HTTP/1.1\r\nLocation: http://192.168.1.1:5000/\r\n\r\n", GATEWAY), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_ends_the_program(bytes: Vec<u8>, url: String) {
            parse(&bytes, GATEWAY);
            if let Some(place) = answer(&url) {
                proptest::prop_assert_eq!(place.host.ip(), IpAddr::V4(GATEWAY));
            }
        }
    }
}
