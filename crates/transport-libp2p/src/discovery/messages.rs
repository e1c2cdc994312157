//! The messages of libp2p's rendezvous protocol (libp2p specs/rendezvous), and the two
//! fields that are ours. docs/discovery-protocol.md has them.

use libp2p::StreamProtocol;

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/rendezvous/1.0.0");
/// The longest request: two envelopes and the name.
pub(crate) const MAX_REQUEST: usize = 2048;
/// The longest answer.
pub(crate) const MAX_ANSWER: usize = 48 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Register = 0,
    RegisterResponse = 1,
    Unregister = 2,
    Discover = 3,
    DiscoverResponse = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Status {
    Ok = 0,
    InvalidNamespace = 100,
    InvalidSignedPeerRecord = 101,
    InvalidTtl = 102,
    InvalidCookie = 103,
    NotAuthorized = 200,
    InternalError = 300,
    Unavailable = 400,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(enumeration = "Kind", optional, tag = "1")]
    pub(crate) kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(crate) register: Option<Register>,
    #[prost(message, optional, tag = "3")]
    pub(crate) register_response: Option<RegisterResponse>,
    #[prost(message, optional, tag = "4")]
    pub(crate) unregister: Option<Unregister>,
    #[prost(message, optional, tag = "5")]
    pub(crate) discover: Option<Discover>,
    #[prost(message, optional, tag = "6")]
    pub(crate) discover_response: Option<DiscoverResponse>,
}

/// A request to be listed, and an entry of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Register {
    #[prost(string, optional, tag = "1")]
    pub(crate) ns: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) signed_peer_record: Option<Vec<u8>>,
    /// In seconds.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) ttl: Option<u64>,
    /// Ours: the envelope of the peer's record.
    #[prost(bytes = "vec", optional, tag = "100")]
    pub(crate) record: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RegisterResponse {
    #[prost(enumeration = "Status", optional, tag = "1")]
    pub(crate) status: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub(crate) status_text: Option<String>,
    /// In seconds.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) ttl: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Unregister {
    #[prost(string, optional, tag = "1")]
    pub(crate) ns: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Discover {
    #[prost(string, optional, tag = "1")]
    pub(crate) ns: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) limit: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) cookie: Option<Vec<u8>>,
    /// Ours: whoever asks reads our records. Entries that have one come without a peer
    /// record then.
    #[prost(bool, optional, tag = "100")]
    pub(crate) reads_records: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DiscoverResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) registrations: Vec<Register>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) cookie: Option<Vec<u8>>,
    #[prost(enumeration = "Status", optional, tag = "3")]
    pub(crate) status: Option<i32>,
    #[prost(string, optional, tag = "4")]
    pub(crate) status_text: Option<String>,
}

impl Message {
    pub(crate) fn register(register: Register) -> Self {
        Self { kind: Some(Kind::Register.into()), register: Some(register), ..Self::default() }
    }

    pub(crate) fn unregister(ns: &str) -> Self {
        let unregister = Some(Unregister { ns: Some(ns.to_owned()) });
        Self { kind: Some(Kind::Unregister.into()), unregister, ..Self::default() }
    }

    pub(crate) fn discover(discover: Discover) -> Self {
        Self { kind: Some(Kind::Discover.into()), discover: Some(discover), ..Self::default() }
    }

    /// The answer to a REGISTER; `ttl` in seconds if it is listed.
    pub(crate) fn registered(status: Status, text: Option<&str>, ttl: Option<u64>) -> Self {
        let response = RegisterResponse { status: Some(status.into()), status_text: text.map(str::to_owned), ttl };
        Self { kind: Some(Kind::RegisterResponse.into()), register_response: Some(response), ..Self::default() }
    }

    pub(crate) fn discovered(response: DiscoverResponse) -> Self {
        Self { kind: Some(Kind::DiscoverResponse.into()), discover_response: Some(response), ..Self::default() }
    }

    /// The answer to a DISCOVER that is refused.
    pub(crate) fn undiscovered(status: Status, text: &str) -> Self {
        let status_text = Some(text.to_owned());
        Self::discovered(DiscoverResponse { status: Some(status.into()), status_text, ..DiscoverResponse::default() })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_encoding_is_the_specs() {
        assert_eq!(Message::unregister("a").encode_to_vec(), [0x08, 2, 0x22, 3, 0x0a, 1, b'a']);
        let discover = Discover { ns: Some("a".to_owned()), limit: Some(1), cookie: Some(vec![7]), reads_records: None };
        assert_eq!(Message::discover(discover).encode_to_vec(), [0x08, 3, 0x2a, 8, 0x0a, 1, b'a', 0x10, 1, 0x1a, 1, 7]);
        assert_eq!(Message::registered(Status::Ok, None, Some(60)).encode_to_vec(), [0x08, 1, 0x1a, 4, 0x08, 0, 0x18, 60]);
        let register = Register { ns: Some("a".to_owned()), ttl: Some(60), record: Some(vec![7]), ..Register::default() };
        // Field 100 as bytes.
        assert_eq!(Message::register(register).encode_to_vec(), [0x08, 0, 0x12, 9, 0x0a, 1, b'a', 0x18, 60, 0xa2, 0x06, 1, 7]);
    }
}
