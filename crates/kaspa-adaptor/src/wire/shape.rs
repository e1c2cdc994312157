//! The messages that a light peer understands, as far as memory goes: which
//! fields are bytes, and which repeat. Fields that are not here cost nothing:
//! numbers lie within their struct, and prost skips what it does not know.

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind,
    pb::{BlockLevelParents, Hash, NetAddress, TransactionId, TransactionInput, TransactionMessage, TransactionOutput},
};

/// A message's fields that can take memory.
pub(super) type Shape = &'static [(u32, Field)];

/// What such a field holds.
pub(super) enum Field {
    /// Bytes or text.
    Bytes,
    /// A message within the struct.
    One(Shape),
    /// Any number of messages, each of a struct of so many bytes.
    Many(Shape, usize),
}

use Field::{Bytes, Many, One};

const BYTES: Shape = &[(1, Bytes)];
const NET_ADDRESS: Shape = &[(3, Bytes)];
const INPUT: Shape = &[(1, One(&[(1, One(BYTES))])), (2, Bytes)];
const OUTPUT: Shape = &[(2, One(BYTES)), (3, One(&[(2, One(BYTES))]))];
const TRANSACTION: Shape = &[
    (2, Many(INPUT, size_of::<TransactionInput>())),
    (3, Many(OUTPUT, size_of::<TransactionOutput>())),
    (5, One(BYTES)),
    (8, Bytes),
];
const HEADER: Shape = &[
    (3, One(BYTES)),
    (4, One(BYTES)),
    (5, One(BYTES)),
    (10, Bytes),
    (12, Many(&[(1, Many(BYTES, size_of::<Hash>()))], size_of::<BlockLevelParents>())),
    (14, One(BYTES)),
];
const BLOCK: Shape = &[(1, One(HEADER)), (2, Many(TRANSACTION, size_of::<TransactionMessage>()))];
const VERSION: Shape = &[(4, One(NET_ADDRESS)), (5, Bytes), (6, Bytes), (9, One(BYTES)), (10, Bytes)];
const TRANSACTION_IDS: Shape = &[(1, Many(BYTES, size_of::<TransactionId>()))];

/// The kinds that are decoded, by their field in a message.
pub(super) const KINDS: &[(u32, Kind, Shape)] = &[
    (1, Kind::Addresses, &[(1, Many(NET_ADDRESS, size_of::<NetAddress>()))]),
    (2, Kind::Block, BLOCK),
    (3, Kind::Transaction, TRANSACTION),
    (6, Kind::RequestAddresses, &[(2, One(BYTES))]),
    (10, Kind::RequestRelayBlocks, &[(1, Many(BYTES, size_of::<Hash>()))]),
    (12, Kind::RequestTransactions, TRANSACTION_IDS),
    (14, Kind::InvRelayBlock, &[(1, One(BYTES))]),
    (15, Kind::InvTransactions, TRANSACTION_IDS),
    (16, Kind::Ping, &[]),
    (17, Kind::Pong, &[]),
    (19, Kind::Verack, &[]),
    (20, Kind::Version, VERSION),
    (21, Kind::TransactionNotFound, &[(1, One(BYTES))]),
    (22, Kind::Reject, &[(1, Bytes)]),
    (50, Kind::Ready, &[]),
];
