//! What a relay gives and to whom, as flags and as the table `[relay-server]` of the file.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::Args;
use serde::Deserialize;

use super::{
    access::{AccessEntry, AccessMode},
    units::{Size, Span},
};

#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RelayLimits {
    /// Peers with a reservation in all.
    #[arg(long, value_name = "N")]
    pub(super) max_reservations: Option<NonZeroUsize>,

    /// Connections of one peer that hold its reservation at once.
    #[arg(long, value_name = "N")]
    pub(super) max_reservations_per_peer: Option<NonZeroUsize>,

    /// Peers with a reservation from one IP address (a /64 of IPv6).
    #[arg(long, value_name = "N")]
    pub(super) max_reservations_per_ip: Option<NonZeroUsize>,

    /// Peers with a reservation from one /24 of IPv4 or /48 of IPv6.
    #[arg(long, value_name = "N")]
    pub(super) max_reservations_per_prefix: Option<NonZeroUsize>,

    /// Lifetime of a reservation, like 1h; peers renew it before it ends.
    #[arg(long, value_name = "TIME")]
    pub(super) reservation_duration: Option<Span>,

    /// Circuits in all.
    #[arg(long, value_name = "N")]
    pub(super) max_circuits: Option<NonZeroUsize>,

    /// Circuits that one peer has opened.
    #[arg(long, value_name = "N")]
    pub(super) max_circuits_per_peer: Option<NonZeroUsize>,

    /// Circuits opened from one IP address (a /64 of IPv6).
    #[arg(long, value_name = "N")]
    pub(super) max_circuits_per_ip: Option<NonZeroUsize>,

    /// Circuits opened from one /24 of IPv4 or /48 of IPv6.
    #[arg(long, value_name = "N")]
    pub(super) max_circuits_per_prefix: Option<NonZeroUsize>,

    /// Circuits to one peer.
    #[arg(long, value_name = "N")]
    pub(super) max_circuits_per_destination: Option<NonZeroUsize>,

    /// Circuits from one IP address to one peer.
    #[arg(long, value_name = "N")]
    pub(super) max_circuits_per_ip_to_destination: Option<NonZeroUsize>,

    /// Lifetime of a circuit, like 24h; a bare number is seconds.
    #[arg(long, value_name = "TIME")]
    pub(super) max_circuit_duration: Option<Span>,

    /// A circuit without a byte either way ends after this time; Kaspa pings every 2 minutes.
    #[arg(long, value_name = "TIME")]
    pub(super) circuit_idle_timeout: Option<Span>,

    /// Bytes of a circuit, both ways together, like 10GiB; 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    pub(super) max_circuit_bytes: Option<Size>,

    /// Bytes per second of one peer, over all its circuits and both ways, like 2MB; 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    pub(super) bytes_per_second_per_peer: Option<Size>,

    /// Bytes that a peer may send at once after it was quiet; 0 is what its rate gives in 100 ms.
    #[arg(long, value_name = "BYTES")]
    pub(super) burst_per_peer: Option<Size>,

    /// Bytes per second of all circuits together, both ways; answers about who is listed may take a quarter
    /// of it besides. 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    pub(super) bytes_per_second: Option<Size>,

    /// Bytes that all circuits may send at once after they were quiet; 0 is what the rate gives in 100 ms.
    #[arg(long, value_name = "BYTES")]
    pub(super) burst: Option<Size>,

    /// Bytes in a window of the circuits that one peer opened, like 100GiB; 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    pub(super) quota_per_peer: Option<Size>,

    /// The same for all peers of one /24 of IPv4 or /48 of IPv6.
    #[arg(long, value_name = "BYTES")]
    pub(super) quota_per_prefix: Option<Size>,

    /// The same for all peers together.
    #[arg(long, value_name = "BYTES")]
    pub(super) quota: Option<Size>,

    /// The window of the quotas, like 30days; it begins with the first byte, and anew at a restart.
    #[arg(long, value_name = "TIME")]
    pub(super) quota_window: Option<Span>,

    /// Who may reserve and open circuits: everyone, allow (those listed alone) or deny (all but those).
    #[arg(long, value_enum, value_name = "MODE")]
    pub(super) access: Option<AccessMode>,

    /// A peer id, an IP address or a prefix like 192.0.2.0/24 for --access; may be given several times.
    #[arg(long, value_name = "ENTRY")]
    pub(super) access_list: Option<Vec<AccessEntry>>,

    /// A file with more of these, one a line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    pub(super) access_file: Option<PathBuf>,

    /// A file with the tokens of which a peer must give one to reserve, one a line; only its owner may be
    /// able to read it.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Reservations that one peer may ask for at once.
    #[arg(long, value_name = "N")]
    pub(super) reservations_per_peer_burst: Option<NonZeroU32>,

    /// Reservations that new peers may ask for at once from one IP address.
    #[arg(long, value_name = "N")]
    pub(super) reservations_per_ip_burst: Option<NonZeroU32>,

    /// Circuits that one peer may ask for at once.
    #[arg(long, value_name = "N")]
    pub(super) circuits_per_peer_burst: Option<NonZeroU32>,

    /// Circuits that peers without reservation may ask for at once from one IP address.
    #[arg(long, value_name = "N")]
    pub(super) circuits_per_ip_burst: Option<NonZeroU32>,

    /// Time until one of each of these four comes back.
    #[arg(long, value_name = "TIME")]
    pub(super) refill: Option<Span>,

    /// Memory of the process beyond which nothing new is taken, like 400MiB; 0 is no ceiling.
    #[arg(long, value_name = "BYTES")]
    pub(super) max_memory: Option<Size>,

    /// Time that circuits have to move elsewhere after SIGTERM; 0 ends at once.  [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(super) drain_timeout: Option<Span>,
}

/// The first source that has a value, for each of these keys.
macro_rules! first {
    ($flags:ident, $file:ident: $($key:ident),* $(,)?) => {
        RelayLimits { $($key: $flags.$key.clone().or_else(|| $file.$key.clone())),* }
    };
}

impl RelayLimits {
    /// What is given here, else what the file says.
    pub(super) fn over(&self, file: &Self) -> Self {
        first!(self, file:
            max_reservations, max_reservations_per_peer, max_reservations_per_ip, max_reservations_per_prefix,
            reservation_duration, max_circuits, max_circuits_per_peer, max_circuits_per_ip, max_circuits_per_prefix,
            max_circuits_per_destination, max_circuits_per_ip_to_destination, max_circuit_duration, circuit_idle_timeout,
            max_circuit_bytes, bytes_per_second_per_peer, burst_per_peer, bytes_per_second, burst, quota_per_peer,
            quota_per_prefix, quota, quota_window, access, access_list, access_file, token_file,
            reservations_per_peer_burst, reservations_per_ip_burst, circuits_per_peer_burst, circuits_per_ip_burst, refill,
            max_memory, drain_timeout,
        )
    }
}
