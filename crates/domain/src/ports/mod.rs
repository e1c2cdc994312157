//! The ports: what adapters implement, what decides, and who is notified.

mod admission;
mod connector;
mod dialer;
mod discovery;
mod listener;
mod observer;
mod peer_book;
mod policy;
mod port_mapper;
mod relay_list;

pub use admission::AdmissionPolicy;
pub use connector::{ConnectorError, PeerConnector, PeerTarget};
pub use dialer::StreamDialer;
pub use discovery::{Discovery, DiscoveryError};
pub use listener::StreamListener;
pub use observer::{Observer, Observers};
pub use peer_book::PeerBook;
pub use policy::{NatMapping, PlanRequest, Punching, TransportPolicy};
pub use port_mapper::{MapMethod, MapProtocol, MapPurpose, MapRequest, Mapped, MappingEvent, PortMapper};
pub use relay_list::{RelayList, RelayListError, RelayListing};

#[cfg(feature = "mocks")]
pub use {
    admission::MockAdmissionPolicy, connector::MockPeerConnector, dialer::MockStreamDialer, discovery::MockDiscovery,
    listener::MockStreamListener, peer_book::MockPeerBook, policy::MockTransportPolicy, port_mapper::MockPortMapper,
    relay_list::MockRelayList,
};
