//! The ports of Kaspath and the types they speak.
//!
//! A Kaspa session needs one thing from the network: a duplex byte stream to a
//! peer, and to know how that stream travels. Everything here describes that
//! and nothing here does it: adapters implement the [`ports`], strategies
//! decide with the [`plan`] types, and the Kaspa side consumes a
//! [`DuplexStream`] without knowing what carries it.
//!
//! ```
//! use kaspath_domain::{PeerLocator, PeerAddress, Transport};
//!
//! let locator: PeerLocator = "/ip4/203.0.113.7/tcp/16111".parse().unwrap();
//! let PeerAddress::Direct(direct) = &locator.address else { unreachable!() };
//! assert_eq!(direct.transport, Transport::Tcp);
//! ```
//!
//! # Features
//! - `mocks`: mockall mocks of the ports (`MockStreamDialer` and so on).

#![warn(clippy::unwrap_used)]

pub mod address;
pub mod admission;
pub mod bounds;
pub mod cadence;
pub mod clean;
pub mod connect_info;
pub mod errors;
pub mod eviction;
pub mod group;
pub mod identity;
pub mod memory;
pub mod net;
pub mod path;
pub mod plan;
pub mod ports;
pub mod record;
pub mod route;
pub mod stream;
pub mod synthetic;
pub mod time;

pub use address::{AddressError, Host, PeerAddress, PeerLocator, RelayAddress, Transport, TransportAddress, TransportSet};
pub use admission::{AdmissionRequest, IpPrefix, PeerClass, RefuseReason};
pub use bounds::{Counts, Rates, TokenBucket, make_room};
pub use cadence::RetryCadence;
pub use clean::clean;
pub use connect_info::{ConnectInfo, Direction};
pub use errors::{DialError, ListenError, PeerBookError, PolicyError};
pub use eviction::{Activity, Candidate, Eviction, make_place};
pub use group::PeerGroup;
pub use identity::{IdentityError, PeerIdentity};
pub use net::{is_public, same_link};
pub use path::{Path, PathWatch, RelayReason};
pub use plan::{Attempt, AttemptOutcome, DialPlan, DialRequest, Stage};
pub use ports::{
    AdmissionPolicy, ConnectorError, NatMapping, Observer, Observers, PeerBook, PeerConnector, PeerTarget, PlanRequest, Punching,
    StreamDialer, StreamListener, TransportPolicy,
};
pub use record::{AddressSource, BanSource, KaspaId, ObservedAddress, PeerChange, PeerRecord, RelayScore, addresses_for};
pub use route::Route;
pub use stream::{ByteCounters, DuplexStream};
pub use synthetic::{is_peer_loopback, loopback_candidates, synthetic_address};
pub use time::{Moment, MonotonicClock, Timestamp, wall_clock};
