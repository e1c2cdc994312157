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
    /// Open inbound connections from one IP address.
    pub max_inbound_per_ip: usize,
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
            max_outbound: 128,
            backlog: 64,
        }
    }
}
