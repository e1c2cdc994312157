//! The attacker's own peers at a relay.

use anyhow::Result;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::identity::Keypair;

use super::{
    client::{Connection, address},
    wire,
};
use crate::cli::Victim;

/// A connection that has asked for a reservation, whatever the answer was.
pub(super) async fn reserve(key: &Keypair, relay: &Victim, over_quic: bool) -> Result<Connection> {
    let connection = Connection::open(key, address(relay.ip, over_quic)).await?;
    let mut stream = connection.speak(wire::HOP).await?;
    wire::ask(&mut stream, &wire::reserve()).await?;
    Ok(connection)
}

/// Accepts every circuit and keeps it.
pub(super) async fn take_circuits(mut connection: Connection) {
    while let Ok(mut stream) = connection.accept().await {
        tokio::spawn(async move {
            wire::agree(&mut stream, wire::STOP).await?;
            wire::read_message(&mut stream).await?;
            stream.write_all(&wire::accept_circuit()).await?;
            stream.flush().await?;
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await? > 0 {}
            anyhow::Ok(())
        });
    }
}
