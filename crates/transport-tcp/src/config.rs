/// Limits of the TCP adapter.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Open inbound connections in all; more are closed at once.
    pub max_inbound: usize,
    /// Open inbound connections from one address of IPv4 or one /64 of IPv6.
    pub max_inbound_per_ip: usize,
    /// Open inbound connections from one prefix, a /24 of IPv4 or a /48 of IPv6.
    pub max_inbound_per_prefix: usize,
    /// Open outbound connections in all.
    pub max_outbound: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        // As of libp2p connections: a sixteenth for an address, three for a prefix.
        Self { max_inbound: 128, max_inbound_per_ip: 8, max_inbound_per_prefix: 24, max_outbound: 128 }
    }
}
