//! A connection into kaspad from a peer's address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// kaspad is on this machine: it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to kaspad from a peer's loopback address; why not, with the cure.
pub(crate) async fn connect(source: Ipv4Addr, kaspad: SocketAddr) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("kaspad at {kaspad} cannot be reached from {source}: {error}; is it running?");
    let socket = TcpSocket::new_v4().map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).map_err(|error| {
        format!(
            "{source} is not an address of this machine ({error}): Linux has all of 127.0.0.0/8, macOS needs `sudo ifconfig lo0 alias {source}`"
        )
    })?;
    let connection = timeout(TIMEOUT, socket.connect(kaspad))
        .await
        .map_err(|_| format!("kaspad at {kaspad} does not answer"))?
        .map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    Ok(connection)
}
