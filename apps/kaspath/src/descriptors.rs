//! Open files: each connection is one, and the system allows only so many.

use anyhow::{Result, bail};
use kaspath_transport_tcp::TcpConfig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::settings::Settings;

/// More than anything here needs. A still higher limit is of no use, and some
/// programs that we start visit every number up to it.
const ENOUGH: u64 = 1 << 20;
/// Files, listeners, pipes and timers of the program itself, and its RPC connections.
const RESERVE: u64 = 128;

/// Raises the limit of open files as far as the program may, and fits the limits of
/// connections into it. A warning says if defaults were lowered for that; limits that
/// were asked for and do not fit are an error.
pub(crate) fn provide(settings: &mut Settings) -> Result<Option<String>> {
    let allowed = match raise() {
        Ok(allowed) => allowed,
        Err(error) => {
            return Ok(Some(format!("cannot find out how many files may be open ({error}); connections may fail")));
        }
    };
    fit(settings, allowed)
}

/// What is allowed after raising it.
fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(ENOUGH);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        return Ok(wanted);
    }
    Ok(soft)
}

fn fit(settings: &mut Settings, allowed: u64) -> Result<Option<String>> {
    let others = RESERVE + beside_libp2p(settings) + of_web(settings);
    let (limits, asked) = (&settings.network_config.limits, &settings.asked_limits);
    let need = limits.descriptors() + others;
    if need <= allowed {
        return Ok(None);
    }
    let cure = "LimitNOFILE= in the service's unit file, or `ulimit -Hn` in the shell that starts it";
    let Some(less) = limits.within(allowed.saturating_sub(others), &asked.floor) else {
        if asked.keys.is_empty() {
            bail!("the system allows this program {allowed} open files, which is too few to work with: raise {cure}");
        }
        let keys = asked.keys.join(", ");
        bail!("connections need up to {need} open files, and the system allows {allowed}: lower {keys}, or raise {cure}");
    };
    let lowered = format!(
        "the system allows this program {allowed} open files and {need} may be needed, so at most {} inbound connections are \
         taken instead of {}; for more, raise {cure}",
        less.inbound, limits.inbound
    );
    settings.network_config.limits = less;
    Ok(Some(lowered))
}

/// Connections of the status page, and of its questions to kaspad.
fn of_web(settings: &Settings) -> u64 {
    if settings.web.is_some() { kaspath_web::MAX_CONNECTIONS as u64 + 2 } else { 0 }
}

/// Connections beside those of the libp2p network.
fn beside_libp2p(settings: &Settings) -> u64 {
    let Some(node) = &settings.node else { return 0 };
    let peers = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    if settings.gateway.is_some() {
        // A connection with kaspad for every inbound peer, and as many for those that it dials.
        return peers(node.inbound.total).saturating_mul(2);
    }
    let plain = TcpConfig::default();
    let inbound = if node.kaspa_listen.is_some() { plain.max_inbound } else { 0 };
    peers(plain.max_outbound + inbound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn with_file(args: &[&str], text: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaspath.toml");
        std::fs::write(&path, text).unwrap();
        settings(&[args, &["-c", path.to_str().unwrap()]].concat(), &[]).unwrap()
    }

    #[test]
    fn defaults_are_lowered_with_a_warning_and_then_fit() {
        for role in ["relay", "server", "gateway"] {
            let mut settings = settings(&[role], &[]).unwrap();
            let before = settings.network_config.limits.clone();
            assert_eq!(fit(&mut settings, 1 << 20).unwrap(), None);
            assert_eq!(settings.network_config.limits, before);
            let warning = fit(&mut settings, 1024).unwrap().unwrap();
            assert!(warning.contains("1024 open files") && warning.contains("LimitNOFILE="), "{warning}");
            assert!(settings.network_config.limits.descriptors() < 1024);
            assert_eq!(fit(&mut settings, 1024).unwrap(), None);
        }
    }

    #[test]
    fn limits_that_were_asked_for_are_refused_by_name_if_they_do_not_fit() {
        for (role, file, key) in [
            ("relay", "[connections]\ninbound = 5000\n", "[connections] inbound"),
            ("server", "[connections]\npending-inbound = 5000\n", "[connections] pending-inbound"),
            ("gateway", "[inbound]\ntotal = 3000\n", "[inbound] total"),
        ] {
            let error = fit(&mut with_file(&[role], file), 4096).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("4096") && error.contains("ulimit -Hn"), "{error}");
            assert_eq!(fit(&mut with_file(&[role], file), 65_536).unwrap(), None);
        }
    }

    #[test]
    fn what_was_asked_for_stays_while_defaults_beside_it_are_lowered() {
        let mut settings = with_file(&["relay"], "[connections]\ninbound = 500\n");
        assert!(fit(&mut settings, 1500).unwrap().is_some());
        assert_eq!(settings.network_config.limits.inbound, 500);
    }

    #[test]
    fn too_few_for_anything_is_reported() {
        let error = fit(&mut settings(&["server"], &[]).unwrap(), 300).unwrap_err().to_string();
        assert!(error.contains("300 open files") && error.contains("LimitNOFILE="), "{error}");
    }
}
