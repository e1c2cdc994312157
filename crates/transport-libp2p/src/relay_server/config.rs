use std::time::Duration;

use super::access::RelayAccess;
use crate::RelayToken;

/// Limits of our relay server. One host, and one owner of a block of addresses, gets
/// a part of what there is and no more; docs/decisions/0006-relay-limits.md counts how
/// much. A prefix is a /24 of IPv4 or a /48 of IPv6, and an IPv6 address its /64.
#[derive(Clone, Debug)]
pub struct RelayServerConfig {
    /// Peers with a reservation in all. Those who have one may always renew it.
    pub max_reservations: usize,
    /// Connections of one peer that hold its reservation at once; together they count
    /// as one reservation. A peer is reached over the one on which it asked last, and for a
    /// circuit that it has not answered also over two on which it reserves meanwhile.
    pub max_reservations_per_peer: usize,
    /// Peers with a reservation from one IP address.
    pub max_reservations_per_ip: usize,
    /// Peers with a reservation from one prefix.
    pub max_reservations_per_prefix: usize,
    /// Lifetime of a reservation; clients renew at three quarters of it.
    pub reservation_duration: Duration,
    /// Circuits in all; like the following, those included that are being made.
    pub max_circuits: usize,
    /// Circuits that one peer has opened.
    pub max_circuits_per_peer: usize,
    /// Circuits opened from one IP address.
    pub max_circuits_per_ip: usize,
    /// Circuits opened from one prefix.
    pub max_circuits_per_prefix: usize,
    /// Circuits to one peer.
    pub max_circuits_per_destination: usize,
    /// Circuits opened from one IP address to one peer.
    pub max_circuits_per_ip_to_destination: usize,
    /// Lifetime of a circuit.
    pub max_circuit_duration: Duration,
    /// A circuit ends when no byte went either way for this time. Kaspa pings every
    /// two minutes.
    pub circuit_idle_timeout: Duration,
    /// Bytes of a circuit, both ways together; 0 is unlimited. A change is for new circuits.
    pub max_circuit_bytes: u64,
    /// Bytes per second of one peer: of all circuits that it opened and that lead to it,
    /// both ways together. 0 is unlimited. Each circuit counts for both of its peers.
    pub bytes_per_second_per_peer: u64,
    /// Bytes that a peer may send at once after it was quiet; what the rate gives in 20 ms
    /// at least, and in 100 ms if it is 0.
    pub burst_per_peer: u64,
    /// Bytes per second of all circuits together, both ways; 0 is unlimited. Circuits that
    /// want more than there is get equal parts.
    pub bytes_per_second: u64,
    /// Like `burst_per_peer`, for all together.
    pub burst: u64,
    /// Bytes in a window of all circuits that one peer opened, both ways together; 0 is
    /// unlimited. A peer over its quota gets no reservation and opens no circuit until its
    /// window ends, and a circuit that it opened ends with its next byte. Circuits to it do
    /// not count: anybody may open one.
    pub quota_per_peer: u64,
    /// The same for all peers of one prefix, for identities are free.
    pub quota_per_prefix: u64,
    /// The same for all peers together; each byte counts once.
    pub quota: u64,
    /// A window begins with the first byte after the one before. What was used is kept in
    /// memory only: a restarted relay begins a new window.
    pub quota_window: Duration,
    /// Who may reserve and open circuits.
    pub access: RelayAccess,
    /// If there are any, a peer must have given one of these to reserve. Opening a circuit
    /// needs none: the peer that it leads to has a reservation.
    pub tokens: Vec<RelayToken>,
    /// Reservations that one peer may ask for at once.
    pub reservations_per_peer_burst: u32,
    /// Reservations that peers without one may ask for at once from one IP address.
    pub reservations_per_ip_burst: u32,
    /// Circuits that one peer may ask for at once.
    pub circuits_per_peer_burst: u32,
    /// Circuits that peers without reservation may ask for at once from one IP address.
    pub circuits_per_ip_burst: u32,
    /// Time until one of each burst comes back; a second at most for the circuits of a
    /// peer that has a reservation.
    pub refill: Duration,
}

impl RelayServerConfig {
    /// For a node that serves beside its own work, while it is reachable: 32 reservations,
    /// 16 circuits and 1 MB/s.
    pub fn of_node() -> Self {
        Self {
            max_reservations: 32,
            max_reservations_per_ip: 2,
            max_reservations_per_prefix: 8,
            max_circuits: 16,
            max_circuits_per_peer: 4,
            max_circuits_per_ip: 4,
            max_circuits_per_prefix: 8,
            max_circuits_per_destination: 8,
            max_circuits_per_ip_to_destination: 2,
            bytes_per_second: 1_000_000,
            reservations_per_peer_burst: 8,
            reservations_per_ip_burst: 15,
            circuits_per_peer_burst: 15,
            circuits_per_ip_burst: 30,
            ..Self::default()
        }
    }
}

impl Default for RelayServerConfig {
    fn default() -> Self {
        Self {
            max_reservations: 512,
            max_reservations_per_peer: 2,
            max_reservations_per_ip: 8,
            max_reservations_per_prefix: 32,
            reservation_duration: Duration::from_secs(3600),
            max_circuits: 256,
            max_circuits_per_peer: 16,
            max_circuits_per_ip: 32,
            max_circuits_per_prefix: 64,
            max_circuits_per_destination: 64,
            max_circuits_per_ip_to_destination: 8,
            max_circuit_duration: Duration::from_secs(24 * 3600),
            circuit_idle_timeout: Duration::from_secs(600),
            max_circuit_bytes: 0,
            bytes_per_second_per_peer: 0,
            burst_per_peer: 0,
            bytes_per_second: 0,
            burst: 0,
            quota_per_peer: 0,
            quota_per_prefix: 0,
            quota: 0,
            quota_window: Duration::from_secs(30 * 24 * 3600),
            access: RelayAccess::Everyone,
            tokens: Vec::new(),
            reservations_per_peer_burst: 30,
            reservations_per_ip_burst: 60,
            circuits_per_peer_burst: 60,
            circuits_per_ip_burst: 120,
            refill: Duration::from_secs(15),
        }
    }
}
