//! The relay's limits, as flags and as the table `[relay-server]` of the file.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use kaspath_transport_libp2p::RelayServerConfig;
use serde::Deserialize;

use super::units::{Size, Span};

#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RelayLimits {
    /// Peers with a reservation in all.
    #[arg(long, value_name = "N")]
    max_reservations: Option<NonZeroUsize>,

    /// Peers with a reservation from one IP address (a /64 of IPv6).
    #[arg(long, value_name = "N")]
    max_reservations_per_ip: Option<NonZeroUsize>,

    /// Peers with a reservation from one /24 of IPv4 or /48 of IPv6.
    #[arg(long, value_name = "N")]
    max_reservations_per_prefix: Option<NonZeroUsize>,

    /// Circuits in all.
    #[arg(long, value_name = "N")]
    max_circuits: Option<NonZeroUsize>,

    /// Circuits that one peer has opened.
    #[arg(long, value_name = "N")]
    max_circuits_per_peer: Option<NonZeroUsize>,

    /// Circuits opened from one IP address (a /64 of IPv6).
    #[arg(long, value_name = "N")]
    max_circuits_per_ip: Option<NonZeroUsize>,

    /// Circuits opened from one /24 of IPv4 or /48 of IPv6.
    #[arg(long, value_name = "N")]
    max_circuits_per_prefix: Option<NonZeroUsize>,

    /// Circuits to one peer.
    #[arg(long, value_name = "N")]
    max_circuits_per_destination: Option<NonZeroUsize>,

    /// Circuits from one IP address to one peer.
    #[arg(long, value_name = "N")]
    max_circuits_per_ip_to_destination: Option<NonZeroUsize>,

    /// Lifetime of a circuit, like 24h; a bare number is seconds.
    #[arg(long, value_name = "TIME")]
    max_circuit_duration: Option<Span>,

    /// A circuit without a byte either way ends after this time; Kaspa pings every 2 minutes.
    #[arg(long, value_name = "TIME")]
    circuit_idle_timeout: Option<Span>,

    /// Bytes of a circuit, both ways together, like 10GiB; 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    max_circuit_bytes: Option<Size>,
}

impl RelayLimits {
    /// What is given here, else what the file says, else the default.
    pub(super) fn over(&self, file: &Self) -> Result<RelayServerConfig> {
        let mut config = RelayServerConfig::default();
        let numbers = [
            (&mut config.max_reservations, self.max_reservations.or(file.max_reservations)),
            (&mut config.max_reservations_per_ip, self.max_reservations_per_ip.or(file.max_reservations_per_ip)),
            (&mut config.max_reservations_per_prefix, self.max_reservations_per_prefix.or(file.max_reservations_per_prefix)),
            (&mut config.max_circuits, self.max_circuits.or(file.max_circuits)),
            (&mut config.max_circuits_per_peer, self.max_circuits_per_peer.or(file.max_circuits_per_peer)),
            (&mut config.max_circuits_per_ip, self.max_circuits_per_ip.or(file.max_circuits_per_ip)),
            (&mut config.max_circuits_per_prefix, self.max_circuits_per_prefix.or(file.max_circuits_per_prefix)),
            (&mut config.max_circuits_per_destination, self.max_circuits_per_destination.or(file.max_circuits_per_destination)),
            (
                &mut config.max_circuits_per_ip_to_destination,
                self.max_circuits_per_ip_to_destination.or(file.max_circuits_per_ip_to_destination),
            ),
        ];
        for (limit, given) in numbers {
            *limit = given.map_or(*limit, NonZeroUsize::get);
        }
        if self.max_circuits_per_peer.or(file.max_circuits_per_peer).is_none() {
            config.max_circuits_per_peer = config.max_circuits_per_peer.min(config.max_circuits);
        }
        if config.max_circuits_per_peer > config.max_circuits {
            bail!("max-circuits-per-peer {} is more than max-circuits {}", config.max_circuits_per_peer, config.max_circuits);
        }
        for (name, limit, given) in [
            ("max-circuit-duration", &mut config.max_circuit_duration, self.max_circuit_duration.or(file.max_circuit_duration)),
            ("circuit-idle-timeout", &mut config.circuit_idle_timeout, self.circuit_idle_timeout.or(file.circuit_idle_timeout)),
        ] {
            *limit = given.map_or(*limit, |span| span.0);
            if limit.is_zero() {
                bail!("{name} 0 would end every circuit at once; give a number of seconds");
            }
        }
        // The protocol has 32 bits of seconds for it.
        if config.max_circuit_duration > Duration::from_secs(u32::MAX.into()) {
            bail!("max-circuit-duration is longer than 136 years, which the relay protocol cannot say; 365days is long enough");
        }
        if let Some(Size(bytes)) = self.max_circuit_bytes.or(file.max_circuit_bytes) {
            config.max_circuit_bytes = bytes;
        }
        Ok(config)
    }
}
