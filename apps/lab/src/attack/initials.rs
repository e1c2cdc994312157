//! QUIC Initials from forged addresses. Each is a real one, made by a client that
//! dials a socket of our own: an Initial is bound to the connection id that its
//! sender chose (RFC 9001, section 5.2), and to no address.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
    multiaddr::Protocol,
    quic,
};
use tokio::{net::UdpSocket, time::timeout};

/// Time for a dial to send its first datagram to this very host.
const MADE: Duration = Duration::from_secs(2);
/// Addresses that are forged in turn.
const FORGED: u64 = 16_384;
/// A prime, so that neighbours in time are none in addresses.
const STRIDE: u64 = 4_099;

pub(super) struct Initials {
    transport: quic::tokio::Transport,
    mirror: UdpSocket,
    at: Multiaddr,
    seen: HashSet<Vec<u8>>,
    first: u32,
    sent: u64,
}

impl Initials {
    /// Forges the addresses from `first` on, all of which lead to this host.
    pub(super) async fn new(first: Ipv4Addr) -> Result<Self> {
        let mirror = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = mirror.local_addr()?.port();
        let at = Multiaddr::empty().with(Protocol::Ip4(Ipv4Addr::LOCALHOST)).with(Protocol::Udp(port)).with(Protocol::QuicV1);
        let transport = quic::tokio::Transport::new(quic::Config::new(&Keypair::generate_ed25519()));
        Ok(Self { transport, mirror, at, seen: HashSet::new(), first: first.into(), sent: 0 })
    }

    /// Sends one to a program.
    pub(super) async fn send(&mut self, to: Ipv4Addr) -> Result<()> {
        let datagram = timeout(MADE, self.make()).await.context("no Initial was made")??;
        let offset = (self.sent * STRIDE % FORGED) as u32;
        self.sent += 1;
        let socket = UdpSocket::bind((Ipv4Addr::from(self.first + offset), 0)).await.context("cannot forge an address")?;
        socket.send_to(&datagram, SocketAddr::from((to, 4001))).await?;
        Ok(())
    }

    async fn make(&mut self) -> Result<Vec<u8>> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let mut dial = self.transport.dial(self.at.clone(), options)?;
        let mut buffer = vec![0; 1500];
        loop {
            let read = tokio::select! {
                read = self.mirror.recv(&mut buffer) => read?,
                ended = &mut dial => {
                    ended?;
                    continue;
                }
            };
            // What else comes is a client's goodbye to the one before.
            if let Some(id) = connection_id(&buffer[..read])
                && self.seen.insert(id.to_vec())
            {
                return Ok(buffer[..read].to_vec());
            }
        }
    }
}

/// The destination's connection id of an Initial of QUIC version 1 (RFC 9000, section 17.2.2).
fn connection_id(datagram: &[u8]) -> Option<&[u8]> {
    let (head, rest) = datagram.split_at_checked(6)?;
    let is_initial = head[0] & 0xf0 == 0xc0 && head[1..5] == [0, 0, 0, 1] && datagram.len() >= 1200;
    is_initial.then(|| rest.get(..usize::from(head[5]))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_padded_initial_has_a_connection_id() {
        let mut datagram = vec![0xc3, 0, 0, 0, 1, 3, 7, 8, 9];
        assert_eq!(connection_id(&datagram), None);
        datagram.resize(1200, 0);
        assert_eq!(connection_id(&datagram), Some(&[7, 8, 9][..]));
        datagram[0] = 0xe3;
        assert_eq!(connection_id(&datagram), None);
    }
}
