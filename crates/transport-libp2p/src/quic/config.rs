use std::{sync::Arc, time::Duration};

use libp2p::identity::Keypair;
use quinn::{
    TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
    rustls::client::Resumption,
};

use super::{error::Error, gate::Limits};

/// Initials that quinn keeps until the gate has judged them; more are dropped
/// before any key is derived.
const MAX_UNJUDGED: usize = 256;
/// Bytes that may follow an Initial that is not judged yet, and of all together.
const UNJUDGED_BYTES: u64 = 16 << 10;
const UNJUDGED_BYTES_TOTAL: u64 = 1 << 20;

/// Bytes that may arrive on all streams of a connection before any is read.
const FIRST_WINDOW: u32 = 512 << 10;
/// Bytes read from a connection before it gets its whole window.
pub(super) const USED_AFTER: u64 = 256 << 10;

/// A connection that hears nothing for so many milliseconds is dead: enough for a path to
/// recover.
const IDLE_MILLIS: u32 = 40_000;
/// A packet is sent after so long without any: a home router's mapping lives 30 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The round trip assumed before one is measured. A first packet that is lost, as in many
/// punches, is sent again after three of these, and none needlessly on paths up to 300 ms.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How much may wait on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Bytes of one stream that may arrive before they are read.
    stream: u32,
    /// The same for all streams together, once so much was read that they are really used.
    /// Anybody can make us keep the first window; this one only who sends what somebody
    /// here wants.
    connection: u32,
    /// Bytes that we keep until the remote has acknowledged them.
    send: u64,
}

impl Default for Windows {
    /// For a node, whose peers are few.
    fn default() -> Self {
        Self { stream: 10_000_000, connection: 15_000_000, send: 10_000_000 }
    }
}

impl Windows {
    /// For a relay, whose circuits are many, and read by strangers.
    pub(crate) fn of_relay() -> Self {
        Self { stream: 2 << 20, connection: 3 << 20, send: 2 << 20 }
    }
}

/// What becomes of a handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) timeout: Duration,
    /// The whole window of the connection.
    pub(super) window: u32,
}

/// Settings of the transport.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// A handshake that takes longer is given up.
    pub(crate) handshake_timeout: Duration,
    /// Streams that the remote may have open on one connection.
    pub(crate) streams: u32,
    pub(crate) windows: Windows,
    /// Limits for inbound handshakes.
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(5), streams: 32, windows: Windows::default(), limits: Limits::default() }
    }
}

/// What quinn needs, with one certificate for all connections.
pub(super) struct Quinn {
    pub(super) keypair: Keypair,
    pub(super) server: quinn::ServerConfig,
    pub(super) client: quinn::ClientConfig,
}

impl Config {
    pub(super) fn terms(&self) -> Terms {
        Terms { timeout: self.handshake_timeout, window: self.windows.connection }
    }

    pub(super) fn quinn(&self, keypair: &Keypair) -> Result<Quinn, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
        let mut client = libp2p_tls::make_client_config(keypair, None).map_err(|error| failed(&error))?;
        // Every connection proves its peer's key anew; a ticket would also let a
        // remote recognise us. The name is never a remote's, so it is not sent.
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let mut server = libp2p_tls::make_server_config(keypair).map_err(|error| failed(&error))?;
        server.send_tls13_tickets = 0;
        let client = QuicClientConfig::try_from(client).map_err(|error| failed(&error))?;
        let server = QuicServerConfig::try_from(server).map_err(|error| failed(&error))?;

        let transport = Arc::new(self.transport());
        let mut client = quinn::ClientConfig::new(Arc::new(client));
        client.transport_config(transport.clone());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
        let mut no_tokens = quinn::ValidationTokenConfig::default();
        // An address is validated by a Retry of this moment, not by an old token.
        no_tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
        server
            .transport_config(transport)
            // libp2p does not support a change of a connection's address.
            .migration(false)
            .validation_token_config(no_tokens)
            .max_incoming(MAX_UNJUDGED)
            .incoming_buffer_size(UNJUDGED_BYTES)
            .incoming_buffer_size_total(UNJUDGED_BYTES_TOTAL);
        Ok(Quinn { keypair: keypair.clone(), server, client })
    }

    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_concurrent_bidi_streams(self.streams.into())
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_MILLIS).into()))
            .allow_spin(false)
            .initial_rtt(INITIAL_RTT)
            .stream_receive_window(self.windows.stream.into())
            .send_window(self.windows.send)
            .receive_window(FIRST_WINDOW.into());
        transport
    }
}
