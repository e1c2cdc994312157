use std::{sync::Arc, time::Duration};

use kaspath_domain::{Candidate, Moment};
use libp2p::{PeerId, swarm::ConnectionId};

use super::{
    origin::Origin,
    refusal::{Class, Room},
};
use crate::streams::Traffic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out(Class),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Pending,
    Established(PeerId),
    /// Being closed, which takes a while if the remote does not read.
    Closing,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    pub(super) origin: Origin,
    pub(super) stage: Stage,
    pub(super) since: Moment,
    pub(super) round_trip: Option<Duration>,
    pub(super) traffic: Arc<Traffic>,
    /// Bytes of data streams, both ways, when it was last looked at.
    bytes: u64,
    /// Its peer has a reservation or circuits at our relay.
    served: bool,
    last_activity: Option<Moment>,
}

impl Entry {
    pub(super) fn new(way: Way, origin: Origin, stage: Stage, now: Moment) -> Self {
        let traffic = Arc::default();
        Self { way, origin, stage, since: now, round_trip: None, traffic, bytes: 0, served: false, last_activity: None }
    }

    /// The rooms that it counts in, the narrow ones first: who exceeds its own share is
    /// refused before a connection of somebody else is evicted.
    pub(super) fn rooms(&self) -> impl Iterator<Item = Room> + use<> {
        let rooms: [Option<Room>; 4] = match (self.stage, self.way, self.origin) {
            (Stage::Closing, _, _) => [Some(Room::Closing), None, None, None],
            (Stage::Pending, Way::In, Origin::Direct { transport, host, network }) => [
                Some(Room::PendingFromHost(transport, host)),
                Some(Room::PendingFromNetwork(transport, network)),
                Some(Room::Pending(transport)),
                None,
            ],
            (Stage::Pending, Way::In, Origin::Circuit { relay }) => {
                [Some(Room::PendingThrough(relay)), Some(Room::PendingCircuits), None, None]
            }
            (Stage::Pending, Way::Out(class), _) => [Some(Room::Dialling(class)), None, None, None],
            (Stage::Established(peer), Way::In, Origin::Direct { host, network, .. }) => {
                [Some(Room::WithPeer(peer)), Some(Room::FromHost(host)), Some(Room::FromNetwork(network)), Some(Room::Inbound)]
            }
            (Stage::Established(peer), Way::In, Origin::Circuit { relay }) => {
                [Some(Room::CircuitsWithPeer(peer)), Some(Room::Through(relay)), Some(Room::Circuits), None]
            }
            (Stage::Established(peer), Way::Out(Class::Circuit), _) => {
                [Some(Room::CircuitsWithPeer(peer)), Some(Room::Dialled(Class::Circuit)), None, None]
            }
            (Stage::Established(peer), Way::Out(class), _) => {
                [Some(Room::WithPeer(peer)), Some(Room::Dialled(class)), None, None]
            }
        };
        rooms.into_iter().flatten()
    }

    /// No stream, no reservation and no circuit depends on it.
    pub(super) fn is_unused(&self) -> bool {
        self.traffic.is_idle() && !self.served
    }

    pub(super) fn takes(&self, room: Room) -> bool {
        self.rooms().any(|taken| taken == room)
    }

    /// Those who most likely have one owner.
    pub(super) fn group(&self) -> Room {
        match self.origin {
            Origin::Direct { network, .. } => Room::FromNetwork(network),
            Origin::Circuit { relay } => Room::Through(relay),
        }
    }

    pub(super) fn candidate(&self, id: ConnectionId) -> Candidate<ConnectionId, Room> {
        Candidate {
            id,
            group: self.group(),
            since: self.since,
            round_trip: self.round_trip,
            useful_bytes: self.bytes,
            last_activity: self.last_activity,
            pinned: false,
        }
    }

    /// Looks at how it is used now.
    pub(super) fn observe(&mut self, served: bool, now: Moment) {
        let bytes = self.traffic.bytes();
        if served || bytes != self.bytes {
            self.last_activity = Some(now);
        }
        (self.bytes, self.served) = (bytes, served);
    }
}
