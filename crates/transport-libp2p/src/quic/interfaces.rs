//! The addresses of a wildcard listener, as interfaces are added and removed.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    task::{Context, Poll, ready},
};

use if_watch::{IfEvent, IpNet, tokio::IfWatcher};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Up(IpAddr),
    Down(IpAddr),
}

/// Which addresses of a family there are. An address that is in two networks is
/// one address, and gone when both are.
struct Present {
    ipv4: bool,
    networks: HashSet<IpNet>,
}

impl Present {
    fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.addr() == ip)
    }

    fn apply(&mut self, event: IfEvent) -> Option<Change> {
        let (IfEvent::Up(network) | IfEvent::Down(network)) = event;
        let ip = network.addr();
        if ip.is_ipv4() != self.ipv4 {
            return None;
        }
        let before = self.has(ip);
        match event {
            IfEvent::Up(_) => self.networks.insert(network),
            IfEvent::Down(_) => self.networks.remove(&network),
        };
        match (before, self.has(ip)) {
            (false, true) => Some(Change::Up(ip)),
            (true, false) => Some(Change::Down(ip)),
            _ => None,
        }
    }
}

/// Watches the system's interfaces.
pub(super) struct Interfaces {
    /// Gone once it has failed.
    watcher: Option<IfWatcher>,
    present: Present,
}

impl Interfaces {
    /// Must be called within a tokio runtime.
    pub(super) fn watch(ipv4: bool) -> io::Result<Self> {
        Ok(Self { watcher: Some(IfWatcher::new()?), present: Present { ipv4, networks: HashSet::new() } })
    }

    /// The next change. After an error there are none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Change>> {
        loop {
            let Some(watcher) = &mut self.watcher else { return Poll::Pending };
            match ready!(watcher.poll_if_event(cx)) {
                Ok(event) => {
                    if let Some(change) = self.present.apply(event) {
                        return Poll::Ready(Ok(change));
                    }
                }
                Err(error) => {
                    self.watcher = None;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reported_once_and_expires_with_its_last_network() {
        let mut present = Present { ipv4: true, networks: HashSet::new() };
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(present.apply(IfEvent::Up(network("192.0.2.1/24"))), Some(Change::Up(ip)));
        assert_eq!(present.apply(IfEvent::Up(network("192.0.2.1/32"))), None);
        assert_eq!(present.apply(IfEvent::Down(network("192.0.2.1/24"))), None);
        assert_eq!(present.apply(IfEvent::Down(network("192.0.2.1/32"))), Some(Change::Down(ip)));
        assert_eq!(present.apply(IfEvent::Down(network("192.0.2.1/32"))), None);
        // The other family is another listener's.
        assert_eq!(present.apply(IfEvent::Up(network("2001:db8::1/64"))), None);
    }
}
