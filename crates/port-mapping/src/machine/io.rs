//! What goes into the machine and what comes out of it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use kaspath_domain::{MapMethod, MapRequest, MappingEvent};

use crate::route::Route;

/// One question to the router. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AskId(pub(super) u64);

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The way out of this network, as it is now.
    Route(Option<Route>),
    /// Each ask is answered once, within two seconds.
    Answer { ask: AskId, answer: Answer },
    /// A host says that it has started, or has another address.
    Hint { from: Ipv4Addr },
    /// The way out may have changed.
    Suspect,
    /// Nothing happened, but time has passed.
    Elapsed,
    /// Remove all.
    Stop,
}

/// What the router said.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It speaks that method.
    Found,
    /// The port is mapped.
    Mapped(Granted),
    /// The mapping is gone.
    Removed,
    /// None of these, for that reason.
    Failed(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) external: SocketAddr,
    pub(crate) lifetime: Duration,
    /// Seconds since the router started, if the method tells them.
    pub(crate) epoch: Option<u32>,
}

/// What to ask the router.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// Does it speak that method? Changes nothing.
    Find(MapMethod),
    /// Map that port, outside preferably as `port`.
    Map { by: MapMethod, request: MapRequest, port: u16 },
    /// Map it no longer.
    Remove { by: MapMethod, request: MapRequest, external: u16 },
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Ask the router of that route.
    Ask { id: AskId, ask: Ask, route: Route },
    /// Tell whoever listens.
    Event(MappingEvent),
    /// All is removed.
    Stopped,
}
