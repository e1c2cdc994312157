//! The ports of Kaspath and the types they speak.
//!
//! A Kaspa session needs one thing from the network: a duplex byte stream to a
//! peer, and to know how that stream travels. Everything here describes that
//! and nothing here does it: adapters implement the [`ports`], strategies
//! decide by [`DialPlan`]s, and the Kaspa side consumes a
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

mod address;
mod admission;
mod bounds;
mod cadence;
mod clean;
mod connect_info;
mod discovered;
mod discovery_event;
mod errors;
mod eviction;
mod identity;
pub mod memory;
mod net;
mod path;
mod plan;
pub mod ports;
mod prefix;
mod record;
mod reservation;
mod route;
mod spread;
mod stream;
mod synthetic;
pub mod time;

pub use address::{
    AddressError, Host, PeerAddress, PeerLocator, RelayAddress, Transport, TransportAddress, TransportSet, is_dns_name,
};
pub use admission::{AdmissionRequest, PeerClass, PeerGroup, RefuseReason};
pub use bounds::{Counts, Rates, Slot, Slots, TokenBucket, make_room};
pub use cadence::RetryCadence;
pub use clean::clean;
pub use connect_info::{ConnectInfo, Direction};
pub use discovered::{
    DiscoveryAnswer, Groups, Namespace, NamespaceError, NodeRecord, RecordDraft, RecordKind, SignedRecord, Teller, Told,
};
pub use discovery_event::{DiscoveredChange, DiscoveryEvent, NotTold};
pub use errors::{DialError, ListenError, PeerBookError, PolicyError};
pub use eviction::{Activity, Candidate, Eviction, make_slot};
pub use identity::{IdentityError, PeerIdentity};
pub use net::{is_public, same_link};
pub use path::{Path, PathWatch, RelayReason};
pub use plan::{Attempt, AttemptOutcome, DialPlan, DialRequest, Stage, TCP_GRACE};
pub use ports::{
    AdmissionPolicy, ConnectorError, Discovery, DiscoveryError, MapMethod, MapProtocol, MapPurpose, MapRequest, Mapped,
    MappingEvent, NatMapping, Observer, Observers, PeerBook, PeerConnector, PeerTarget, PlanRequest, PortMapper, Punching,
    RelayList, RelayListError, RelayListing, StreamDialer, StreamListener, TransportPolicy,
};
pub use prefix::{IpPrefix, IpPrefixError};
pub use record::{AddressSource, BanSource, KaspaId, ObservedAddress, PeerChange, PeerRecord, RelayScore, addresses_for};
pub use reservation::ReservationLoss;
pub use route::Route;
pub use spread::{below, diverse_first, spread};
pub use stream::{ByteCounters, DuplexStream, Health, PathHealth};
pub use synthetic::{is_peer_loopback, loopback_candidates, synthetic_address};
pub use time::{Moment, MonotonicClock, Timestamp, wall_clock};
