//! What a node that has restarted shares with its last start: then it can say, to those
//! who still send to it, that their connections are gone (RFC 9000, section 10.3). They
//! would wait for their idle timeout otherwise.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use libp2p::identity::Keypair;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig,
    crypto::{CryptoError, HmacKey},
};

/// Bytes of a connection's id, as many as quinn's own have.
const ID_LENGTH: usize = 8;

/// The configuration of a socket bound there. Each socket has keys of its own, or a packet
/// sent to the wrong one would tell how to reset a connection of the other.
pub(super) fn endpoint(keypair: &Keypair, bound: SocketAddr) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey { keypair: keypair.clone(), bound }));
    config.supported_versions(vec![1]);
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Ids of connections that every start of a node takes for its own. quinn's default ids are
/// marked by their process, and packets for ids of another process are dropped without an
/// answer. So every long packet that belongs to no connection is answered here, by fewer
/// bytes and at most 50 times a second, which quinn enforces.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_LENGTH]>())
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes the token of a connection's id. Without the node's key nobody can compute it.
struct ResetKey {
    keypair: Keypair,
    bound: SocketAddr,
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let label = format!("kaspath quic stateless reset {} ", self.bound);
        let secret = self.keypair.derive_secret(&[label.as_bytes(), data].concat()).unwrap_or_default();
        for (to, from) in signature_out.iter_mut().zip(secret) {
            *to = from;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; 32];
        self.sign(data, &mut expected);
        if expected == signature { Ok(()) } else { Err(CryptoError) }
    }
}
