//! Settings of `kaspath relay`: what can be read may still not work.

use std::{
    fmt::Debug,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, bail};
use kaspath_transport_libp2p::{RelayAccess, RelayServerConfig};

use super::{
    access, paths,
    relay_limits::RelayLimits,
    tokens,
    units::{Size, Span},
};

/// Time that circuits have to move elsewhere after SIGTERM.
const DRAIN: Duration = Duration::from_secs(30);
/// Less than this a second is most likely a unit forgotten: a session's pings alone need some of it.
const SLOWEST: u64 = 1 << 10;
/// A quota below this is used up by one handshake and some announcements.
const SMALLEST_QUOTA: u64 = 64 << 10;
/// With less, peers would do little else than renew.
const SHORTEST_RESERVATION: Duration = Duration::from_secs(60);

/// What a relay needs besides what its network does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelaySettings {
    /// Memory of the process beyond which nothing new is taken.
    pub(crate) max_memory: Option<u64>,
    /// Time between SIGTERM and the end.
    pub(crate) drain_timeout: Duration,
}

/// `lookup` reads an environment variable.
pub(super) fn resolve(
    limits: &RelayLimits,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<(RelayServerConfig, RelaySettings)> {
    let mut config = RelayServerConfig::default();
    counts(&mut config, limits)?;
    times(&mut config, limits)?;
    bytes(&mut config, limits)?;
    let file = |path: &Option<PathBuf>| path.as_ref().map(|path| paths::expand(path, lookup)).transpose();
    let list = limits.access_list.as_deref().unwrap_or_default();
    config.access = access::resolve(limits.access.unwrap_or_default(), list, file(&limits.access_file)?.as_deref())?;
    if let Some(path) = file(&limits.token_file)? {
        config.tokens = tokens::of_relay(&path)?;
    }
    let settings = RelaySettings {
        max_memory: limits.max_memory.map(|size| size.0).filter(|bytes| *bytes > 0),
        drain_timeout: limits.drain_timeout.map_or(DRAIN, |span| span.0),
    };
    Ok((config, settings))
}

fn counts(config: &mut RelayServerConfig, limits: &RelayLimits) -> Result<()> {
    for (limit, given) in [
        (&mut config.max_reservations, limits.max_reservations),
        (&mut config.max_reservations_per_peer, limits.max_reservations_per_peer),
        (&mut config.max_reservations_per_ip, limits.max_reservations_per_ip),
        (&mut config.max_reservations_per_prefix, limits.max_reservations_per_prefix),
        (&mut config.max_circuits, limits.max_circuits),
        (&mut config.max_circuits_per_peer, limits.max_circuits_per_peer),
        (&mut config.max_circuits_per_ip, limits.max_circuits_per_ip),
        (&mut config.max_circuits_per_prefix, limits.max_circuits_per_prefix),
        (&mut config.max_circuits_per_destination, limits.max_circuits_per_destination),
        (&mut config.max_circuits_per_ip_to_destination, limits.max_circuits_per_ip_to_destination),
    ] {
        *limit = given.map_or(*limit, NonZeroUsize::get);
    }
    if limits.max_circuits_per_peer.is_none() {
        config.max_circuits_per_peer = config.max_circuits_per_peer.min(config.max_circuits);
    }
    if config.max_circuits_per_peer > config.max_circuits {
        bail!("max-circuits-per-peer {} is more than max-circuits {}", config.max_circuits_per_peer, config.max_circuits);
    }
    for (burst, given) in [
        (&mut config.reservations_per_peer_burst, limits.reservations_per_peer_burst),
        (&mut config.reservations_per_ip_burst, limits.reservations_per_ip_burst),
        (&mut config.circuits_per_peer_burst, limits.circuits_per_peer_burst),
        (&mut config.circuits_per_ip_burst, limits.circuits_per_ip_burst),
    ] {
        *burst = given.map_or(*burst, NonZeroU32::get);
    }
    Ok(())
}

fn times(config: &mut RelayServerConfig, limits: &RelayLimits) -> Result<()> {
    for (name, effect, time, given) in [
        ("max-circuit-duration", "end every circuit at once", &mut config.max_circuit_duration, limits.max_circuit_duration),
        ("circuit-idle-timeout", "end every circuit at once", &mut config.circuit_idle_timeout, limits.circuit_idle_timeout),
        ("reservation-duration", "end every reservation at once", &mut config.reservation_duration, limits.reservation_duration),
        ("quota-window", "limit nothing", &mut config.quota_window, limits.quota_window),
        ("refill", "lift the limits of requests", &mut config.refill, limits.refill),
    ] {
        *time = given.map_or(*time, |Span(time)| time);
        if time.is_zero() {
            bail!("{name} 0 would {effect}; give a number of seconds");
        }
    }
    if config.reservation_duration < SHORTEST_RESERVATION {
        bail!("reservation-duration is shorter than 1min, so that peers would renew all the time; 1h is usual");
    }
    // The protocol has 32 bits of seconds for it.
    if config.max_circuit_duration > Duration::from_secs(u32::MAX.into()) {
        bail!("max-circuit-duration is longer than 136 years, which the relay protocol cannot say; 365days is long enough");
    }
    Ok(())
}

fn bytes(config: &mut RelayServerConfig, limits: &RelayLimits) -> Result<()> {
    for (name, least, bytes, given) in [
        ("max-circuit-bytes", 0, &mut config.max_circuit_bytes, limits.max_circuit_bytes),
        ("bytes-per-second-per-peer", SLOWEST, &mut config.bytes_per_second_per_peer, limits.bytes_per_second_per_peer),
        ("burst-per-peer", 0, &mut config.burst_per_peer, limits.burst_per_peer),
        ("bytes-per-second", SLOWEST, &mut config.bytes_per_second, limits.bytes_per_second),
        ("burst", 0, &mut config.burst, limits.burst),
        ("quota-per-peer", SMALLEST_QUOTA, &mut config.quota_per_peer, limits.quota_per_peer),
        ("quota-per-prefix", SMALLEST_QUOTA, &mut config.quota_per_prefix, limits.quota_per_prefix),
        ("quota", SMALLEST_QUOTA, &mut config.quota, limits.quota),
    ] {
        *bytes = given.map_or(*bytes, |Size(bytes)| bytes);
        if (1..least).contains(bytes) {
            bail!("{name} {bytes} is too few bytes for any session: write it with its unit, like 2MB, or 0 for no limit");
        }
    }
    for (burst, rate, given, per_second) in [
        ("burst-per-peer", "bytes-per-second-per-peer", config.burst_per_peer, config.bytes_per_second_per_peer),
        ("burst", "bytes-per-second", config.burst, config.bytes_per_second),
    ] {
        if given > 0 && per_second == 0 {
            bail!("{burst} has no effect without {rate}: set that too, or leave {burst} out");
        }
    }
    Ok(())
}

/// What differs between two settings of a relay, as `key value`.
pub(super) fn changes(old: &(RelayServerConfig, RelaySettings), new: &(RelayServerConfig, RelaySettings)) -> Vec<String> {
    // Not by their texts: a list of the same length may be another one, and a token is never text.
    let access = (old.0.access != new.0.access).then(|| match &new.0.access {
        RelayAccess::Everyone => "access everyone".to_owned(),
        RelayAccess::Allow(listed) => format!("access allow, {} entries", listed.peers.len() + listed.prefixes.len()),
        RelayAccess::Deny(listed) => format!("access deny, {} entries", listed.peers.len() + listed.prefixes.len()),
    });
    let tokens = (old.0.tokens != new.0.tokens).then(|| format!("the tokens, {} of them", new.0.tokens.len()));
    let pairs = described(old).into_iter().zip(described(new));
    let values = pairs.filter(|(old, new)| old != new).map(|(_, (key, value))| format!("{key} {value}"));
    values.chain(access).chain(tokens).collect()
}

/// Every key but the access and the tokens, with its value.
fn described((config, settings): &(RelayServerConfig, RelaySettings)) -> Vec<(&'static str, String)> {
    let number = |value: &dyn Debug| format!("{value:?}");
    let time = |time: Duration| humantime::format_duration(time).to_string();
    let bytes = |bytes: u64| if bytes == 0 { "without limit".to_owned() } else { Size(bytes).to_string() };
    vec![
        ("max-reservations", number(&config.max_reservations)),
        ("max-reservations-per-peer", number(&config.max_reservations_per_peer)),
        ("max-reservations-per-ip", number(&config.max_reservations_per_ip)),
        ("max-reservations-per-prefix", number(&config.max_reservations_per_prefix)),
        ("reservation-duration", time(config.reservation_duration)),
        ("max-circuits", number(&config.max_circuits)),
        ("max-circuits-per-peer", number(&config.max_circuits_per_peer)),
        ("max-circuits-per-ip", number(&config.max_circuits_per_ip)),
        ("max-circuits-per-prefix", number(&config.max_circuits_per_prefix)),
        ("max-circuits-per-destination", number(&config.max_circuits_per_destination)),
        ("max-circuits-per-ip-to-destination", number(&config.max_circuits_per_ip_to_destination)),
        ("max-circuit-duration", time(config.max_circuit_duration)),
        ("circuit-idle-timeout", time(config.circuit_idle_timeout)),
        ("max-circuit-bytes", bytes(config.max_circuit_bytes)),
        ("bytes-per-second-per-peer", bytes(config.bytes_per_second_per_peer)),
        ("burst-per-peer", Size(config.burst_per_peer).to_string()),
        ("bytes-per-second", bytes(config.bytes_per_second)),
        ("burst", Size(config.burst).to_string()),
        ("quota-per-peer", bytes(config.quota_per_peer)),
        ("quota-per-prefix", bytes(config.quota_per_prefix)),
        ("quota", bytes(config.quota)),
        ("quota-window", time(config.quota_window)),
        ("reservations-per-peer-burst", number(&config.reservations_per_peer_burst)),
        ("reservations-per-ip-burst", number(&config.reservations_per_ip_burst)),
        ("circuits-per-peer-burst", number(&config.circuits_per_peer_burst)),
        ("circuits-per-ip-burst", number(&config.circuits_per_ip_burst)),
        ("refill", time(config.refill)),
        ("max-memory", bytes(settings.max_memory.unwrap_or(0))),
        ("drain-timeout", time(settings.drain_timeout)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn relay(args: &[&str]) -> Result<(RelayServerConfig, RelaySettings)> {
        let settings = settings(&[&["relay"], args].concat(), &[])?;
        Ok((settings.network_config.relay_server.unwrap(), settings.relay.unwrap()))
    }

    #[test]
    fn rates_quotas_and_ceilings_have_units() {
        let (config, settings) = relay(&[
            "--bytes-per-second-per-peer=2MB",
            "--burst-per-peer=8MiB",
            "--quota=1TB",
            "--quota-window=30days",
            "--max-memory=400MiB",
            "--drain-timeout=5s",
            "--refill=1min",
            "--circuits-per-peer-burst=7",
        ])
        .unwrap();
        assert_eq!(
            (config.bytes_per_second_per_peer, config.burst_per_peer, config.quota),
            (2_000_000, 8 << 20, 1_000_000_000_000)
        );
        assert_eq!((config.quota_window.as_secs(), config.refill.as_secs()), (30 * 86_400, 60));
        assert_eq!((config.circuits_per_peer_burst, config.reservations_per_peer_burst), (7, 30));
        assert_eq!(settings, RelaySettings { max_memory: Some(400 << 20), drain_timeout: Duration::from_secs(5) });
        let (_, default) = relay(&["--max-memory=0"]).unwrap();
        assert_eq!(default, RelaySettings { max_memory: None, drain_timeout: DRAIN });
    }

    #[test]
    fn what_cannot_be_meant_names_the_key_and_the_cure() {
        for (args, expected) in [
            (&["--bytes-per-second=10"][..], "bytes-per-second 10 is too few bytes"),
            (&["--quota-per-prefix=1000"], "quota-per-prefix 1000 is too few bytes"),
            (&["--burst=1MiB"], "burst has no effect without bytes-per-second"),
            (&["--quota-window=0"], "quota-window 0 would limit nothing"),
            (&["--reservation-duration=10s"], "1h is usual"),
            (&["--refill=0"], "refill 0 would lift"),
            (&["--access=some"], "everyone"),
            (&["--access-list=192.0.2.0/33"], "192.0.2.0/24"),
            (&["--access-list=192.0.2.7"], "access is everyone"),
            (&["--token-file=/nonexistent/tokens"], "/nonexistent/tokens"),
        ] {
            let error = format!("{:#}", relay(args).unwrap_err());
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_change_is_named_by_its_key_and_no_token_is_shown() {
        let old = relay(&["--access=deny", "--access-list=192.0.2.7"]).unwrap();
        assert!(changes(&old, &old.clone()).is_empty());
        let mut new =
            relay(&["--access=deny", "--access-list=192.0.2.8", "--max-circuits=3", "--quota=2GB", "--max-memory=1GiB"]).unwrap();
        new.0.tokens.push("secret".parse().unwrap());
        assert_eq!(
            changes(&old, &new),
            [
                "max-circuits 3",
                "max-circuits-per-peer 3",
                "quota 2GB",
                "max-memory 1GiB",
                "access deny, 1 entries",
                "the tokens, 1 of them"
            ]
        );
    }
}
