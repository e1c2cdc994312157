//! What the relay does, in figures without names, and how it is told to stop.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use thiserror::Error;

/// Whether our relay serves others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayService {
    /// It speaks no protocol of a relay.
    #[default]
    Shut,
    /// It does.
    Open,
    /// It takes nothing new, and ends what is left soon.
    Draining,
}

/// How often something was refused since the start, by the reason: the name of the setting
/// that it met, or another short name. There are as many as the relay has reasons.
pub type RelayRefusals = BTreeMap<&'static str, u64>;

/// The quotas' use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RelayQuotaUse {
    /// Bytes of all peers in the window; counted only if there are rates or quotas.
    pub used: u64,
    /// How many there may be; 0 is unlimited.
    pub quota: u64,
    /// Until the window ends; `None` before its first byte.
    #[serde(serialize_with = "kaspath_domain::time::optional_seconds")]
    pub window_left: Option<Duration>,
    /// Peers whose own quota is used up.
    pub peers_over: usize,
    /// Prefixes whose quota is used up.
    pub prefixes_over: usize,
}

/// What our relay does now, and has done since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RelayLoad {
    /// Peers with a reservation.
    pub reservations: usize,
    /// How many there may be.
    pub max_reservations: usize,
    /// Open circuits, and those that are being made.
    pub circuits: usize,
    /// How many there may be.
    pub max_circuits: usize,
    /// Connections on which a peer has spoken the relay protocol: they learn of a drain.
    pub notified: usize,
    /// Bytes passed on in all, both ways; those of open circuits included.
    pub bytes: u64,
    /// How often a circuit waited for its peers' rate or for that of all.
    pub waits: u64,
    /// How long they waited, all together.
    #[serde(serialize_with = "kaspath_domain::time::seconds")]
    pub waited: Duration,
    /// Refused reservations.
    pub refused_reservations: RelayRefusals,
    /// Refused circuits.
    pub refused_circuits: RelayRefusals,
    /// The quotas' use.
    pub quota: RelayQuotaUse,
    /// Whether it serves others.
    pub service: RelayService,
    /// It takes nothing new, and ends soon.
    pub is_draining: bool,
    /// It takes nothing new until memory is free again.
    pub is_under_pressure: bool,
}

/// Why the relay server could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RelayServerError {
    /// The network was started without a relay server.
    #[error("this node does not serve as a relay")]
    NotARelay,
    /// The network has ended.
    #[error("the network has ended")]
    ShuttingDown,
}
