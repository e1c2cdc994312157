//! Has the router forward ports of this host: the domain's [`PortMapper`](kaspath_domain::PortMapper).
//!
//! | file | job |
//! |---|---|
//! | `machine` | what is asked, when, and what answers mean; pure |
//! | `epoch` | whether a router has restarted; pure |
//! | `route` | which router it is |
//! | `pcp` | PCP and NAT-PMP, by `crab_nat` |
//! | `igd` | UPnP IGD, by `igd-next`, over an HTTP client with limits |
//! | `methods` | which of these answers a question of the machine |
//! | `hints` | what routers call out when they have started |
//! | `mapper` | the task that holds it together |
//!
//! What a router is believed, and what a neighbour who passes for it can do:
//! docs/decisions/0022-port-mapping.md.

#![warn(clippy::unwrap_used)]

mod epoch;
mod hints;
mod igd;
mod machine;
mod mapper;
mod methods;
mod pcp;
mod route;
#[cfg(test)]
mod tests;

pub use mapper::{MapperConfig, RouterMapper};

/// Parsers of what routers and their neighbours send, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    /// A datagram that claims to be a router's, and a document of it.
    pub fn router(bytes: &[u8]) {
        crate::hints::is_hint(bytes);
        crate::igd::fuzz(bytes);
    }
}
