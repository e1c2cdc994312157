use std::time::Duration;

/// Socket options and limits of the TCP adapter.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Idle time before the first keepalive probe, and between probes. kaspad's
    /// own client uses 10 s. `None` turns keepalive off.
    pub keepalive: Option<Duration>,
    /// Longest time for a TCP connect, within a dial's deadline. kaspad uses 1 s;
    /// far peers need more.
    pub connect_timeout: Duration,
    /// Open inbound connections in all; more are closed at once.
    pub max_inbound: usize,
    /// Open inbound connections from one address of IPv4 or one /64 of IPv6.
    pub max_inbound_per_ip: usize,
    /// Open inbound connections from one prefix, a /24 of IPv4 or a /48 of IPv6.
    pub max_inbound_per_prefix: usize,
    /// Open outbound connections in all.
    pub max_outbound: usize,
    /// Accepted connections that may wait for `accept`; more wait in the kernel.
    pub backlog: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            keepalive: Some(Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(5),
            max_inbound: 128,
            max_inbound_per_ip: 8,
            // As of libp2p connections: a sixteenth for an address, three for a prefix.
            max_inbound_per_prefix: 24,
            max_outbound: 128,
            backlog: 64,
        }
    }
}
