//! The messages of circuit relay v2 (libp2p specs/relay/circuit-v2.md), as far as a
//! relay reads and writes them. Fields that it does not need are skipped unread.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, PeerId, core::SignedEnvelope, identity::Keypair};
use prost::Message as _;

/// The domain and the payload type of a voucher's signed envelope (multicodec 0x0302).
const VOUCHER_DOMAIN: &str = "libp2p-relay-rsvp";
const VOUCHER_TYPE: [u8; 2] = [0x03, 0x02];
/// Bytes of addresses in a reservation, so that a message stays under its limit.
const MAX_ADDRESS_BYTES: usize = 2048;

/// How a request ended. The names are shown in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Status {
    Ok = 100,
    ReservationRefused = 200,
    ResourceLimitExceeded = 201,
    PermissionDenied = 202,
    ConnectionFailed = 203,
    NoReservation = 204,
    MalformedMessage = 400,
    UnexpectedMessage = 401,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum HopKind {
    Reserve = 0,
    Connect = 1,
    Status = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum StopKind {
    Connect = 0,
    Status = 1,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Peer {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(super) id: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Limit {
    /// In seconds.
    #[prost(uint32, optional, tag = "1")]
    pub(super) duration: Option<u32>,
    /// In bytes; none is unlimited.
    #[prost(uint64, optional, tag = "2")]
    pub(super) data: Option<u64>,
}

impl Limit {
    /// A circuit's limits; 0 bytes are no limit.
    pub(super) fn new(duration: Duration, bytes: u64) -> Self {
        Self { duration: Some(duration.as_secs().try_into().unwrap_or(u32::MAX)), data: Some(bytes).filter(|bytes| *bytes > 0) }
    }
}

/// What a peer asks for. The type is required by the specification; it is optional
/// here so that a message without one does not pass for a reservation.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HopRequest {
    #[prost(enumeration = "HopKind", optional, tag = "1")]
    pub(super) kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(super) peer: Option<Peer>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HopAnswer {
    #[prost(enumeration = "HopKind", required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "3")]
    reservation: Option<Reservation>,
    #[prost(message, optional, tag = "4")]
    limit: Option<Limit>,
    #[prost(enumeration = "Status", optional, tag = "5")]
    status: Option<i32>,
}

impl HopAnswer {
    pub(super) fn refused(status: Status) -> Self {
        Self { kind: HopKind::Status.into(), reservation: None, limit: None, status: Some(status.into()) }
    }

    pub(super) fn connected(limit: Limit) -> Self {
        Self { limit: Some(limit), ..Self::refused(Status::Ok) }
    }

    pub(super) fn reserved(reservation: Reservation, limit: Limit) -> Self {
        Self { reservation: Some(reservation), ..Self::connected(limit) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Reservation {
    /// Seconds since the Unix epoch.
    #[prost(uint64, required, tag = "1")]
    expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    voucher: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Voucher {
    #[prost(bytes = "vec", required, tag = "1")]
    relay: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "2")]
    peer: Vec<u8>,
    #[prost(uint64, required, tag = "3")]
    expiration: u64,
}

impl Reservation {
    /// A reservation of `peer` until `expire`, in seconds since the Unix epoch, at a
    /// relay with these addresses and that key.
    pub(super) fn new<'a>(key: &Keypair, peer: &PeerId, addresses: impl Iterator<Item = &'a Multiaddr>, expire: u64) -> Self {
        let relay = key.public().to_peer_id();
        let mut room = MAX_ADDRESS_BYTES;
        let mut addrs = Vec::new();
        for address in addresses {
            // It stays as it is if it names us already; if it names another, it is not ours.
            let Ok(address) = address.clone().with_p2p(relay) else { continue };
            let Some(left) = room.checked_sub(address.len()) else { break };
            room = left;
            addrs.push(address.to_vec());
        }
        let voucher = Voucher { relay: relay.to_bytes(), peer: peer.to_bytes(), expiration: expire };
        let signed = SignedEnvelope::new(key, VOUCHER_DOMAIN.into(), VOUCHER_TYPE.into(), voucher.encode_to_vec());
        if let Err(error) = &signed {
            tracing::debug!(%error, "a reservation goes without its voucher");
        }
        Self { expire, addrs, voucher: signed.ok().map(SignedEnvelope::into_protobuf_encoding) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StopRequest {
    #[prost(enumeration = "StopKind", required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    peer: Option<Peer>,
    #[prost(message, optional, tag = "3")]
    limit: Option<Limit>,
}

impl StopRequest {
    /// `source` wants a circuit.
    pub(super) fn connect(source: &PeerId, limit: Limit) -> Self {
        Self { kind: StopKind::Connect.into(), peer: Some(Peer { id: source.to_bytes() }), limit: Some(limit) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StopAnswer {
    #[prost(enumeration = "StopKind", optional, tag = "1")]
    pub(super) kind: Option<i32>,
    #[prost(enumeration = "Status", optional, tag = "4")]
    pub(super) status: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_specs() {
        // Type 2, status 204.
        assert_eq!(HopAnswer::refused(Status::NoReservation).encode_to_vec(), [0x08, 2, 0x28, 0xcc, 0x01]);
        // Type 2; limit of 60 s and 1 byte; status 100.
        let limit = Limit::new(Duration::from_secs(60), 1);
        assert_eq!(HopAnswer::connected(limit).encode_to_vec(), [0x08, 2, 0x22, 4, 0x08, 60, 0x10, 1, 0x28, 100]);
        assert_eq!(HopRequest::decode(&[0x08, 0][..]).unwrap().kind, Some(HopKind::Reserve.into()));
        assert_eq!(HopRequest::decode(&[][..]).unwrap().kind, None);
        let source = PeerId::random();
        let stop = StopRequest::connect(&source, limit).encode_to_vec();
        assert_eq!(stop[..2], [0x08, 0]);
        assert_eq!(stop[6..6 + source.to_bytes().len()], source.to_bytes());
    }

    #[test]
    fn an_endless_circuit_has_the_longest_limit_there_is() {
        assert_eq!(Limit::new(Duration::MAX, 0), Limit { duration: Some(u32::MAX), data: None });
    }

    #[test]
    fn a_voucher_is_signed_by_the_relay_and_names_both() {
        let key = Keypair::generate_ed25519();
        let (relay, peer) = (key.public().to_peer_id(), PeerId::random());
        let reservation = Reservation::new(&key, &peer, std::iter::empty(), 77);
        let envelope = SignedEnvelope::from_protobuf_encoding(&reservation.voucher.unwrap()).unwrap();
        let (payload, signer) = envelope.payload_and_signing_key(VOUCHER_DOMAIN.into(), &VOUCHER_TYPE).unwrap();
        assert_eq!(*signer, key.public());
        let expected = Voucher { relay: relay.to_bytes(), peer: peer.to_bytes(), expiration: 77 };
        assert_eq!(Voucher::decode(payload).unwrap(), expected);
    }

    #[test]
    fn a_reservations_addresses_name_the_relay_once_and_leave_room() {
        let key = Keypair::generate_ed25519();
        let relay = key.public().to_peer_id();
        let bare: Multiaddr = "/ip4/203.0.113.1/tcp/4001".parse().unwrap();
        let whole = bare.clone().with_p2p(relay).unwrap();
        let foreign = bare.clone().with_p2p(PeerId::random()).unwrap();
        let reservation = Reservation::new(&key, &PeerId::random(), [&bare, &whole, &foreign].into_iter(), 0);
        assert_eq!(reservation.addrs, [whole.to_vec(), whole.to_vec()]);

        let many: Vec<Multiaddr> =
            (0..20).map(|n| format!("/dns/{}{n:02}.example/tcp/4001", "long".repeat(50)).parse().unwrap()).collect();
        let reservation = Reservation::new(&key, &PeerId::random(), many.iter(), u64::MAX);
        let answer = HopAnswer::reserved(reservation, Limit::new(Duration::MAX, u64::MAX));
        assert!(answer.encoded_len() < crate::wire::MAX_MESSAGE, "{}", answer.encoded_len());
    }
}
