//! What the status page is given.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kaspath_control::{Answer, MAX_ANSWER, line};
use kaspath_metrics::Metrics;
use kaspath_web::Content;

use super::{Activity, Running};
use crate::{metrics, output};

/// kaspad is on this machine: it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer of kaspad counts, however many ask.
const PROBED: Duration = Duration::from_secs(5);

/// The status as the control socket gives it, addresses hidden if asked, and readiness.
pub(super) fn content(
    running: &Arc<Running>,
    activity: &Activity,
    metrics: Metrics,
    kaspad: Option<SocketAddr>,
    redact: bool,
) -> Content {
    let (ours, theirs) = ((running.clone(), activity.clone()), (running.clone(), activity.clone()));
    let kaspad = kaspad.map(Probe::new);
    Content {
        status: Arc::new(move || {
            let (running, activity) = &ours;
            let text = as_line(&Answer::Status(Box::new(running.status(activity))));
            if redact { output::redact(&text) } else { text }
        }),
        ready: Arc::new(move || {
            let (running, activity) = &theirs;
            let network = running.network();
            let addresses = (network.listening().len(), network.announced().len());
            let ready = readiness(addresses, &activity.relay_states(), || kaspad.as_ref().map_or(Ok(()), Probe::answers));
            ready.map_err(|cause| if redact { output::redact(&cause) } else { cause })
        }),
        metrics: Some(metrics::source(metrics, running)),
        changes: activity.changes(),
    }
}

/// An answer as one line without its end.
fn as_line(answer: &Answer) -> String {
    let text = line(answer, MAX_ANSWER).ok().and_then(|line| String::from_utf8(line).ok());
    text.map(|text| text.trim_end().to_owned()).unwrap_or_else(|| "{}".to_owned())
}

/// Whether a program can be reached by its peers, by how many addresses it listens on and
/// announces, and by the states of its reservations.
fn readiness(
    (listening, announced): (usize, usize),
    relays: &[&str],
    kaspad: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let held = relays.contains(&"confirmed");
    if listening == 0 && !held {
        return Err("it listens nowhere".to_owned());
    }
    if !relays.is_empty() && !held && announced == 0 {
        return Err("no relay has confirmed a reservation, and no address of its own is announced".to_owned());
    }
    kaspad()
}

/// Asks whether kaspad accepts connections.
struct Probe {
    address: SocketAddr,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Probe {
    fn new(address: SocketAddr) -> Self {
        Self { address, last: Mutex::new(None) }
    }

    fn answers(&self) -> Result<(), String> {
        // Those who ask meanwhile wait for the same answer.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, answer)) = &*last
            && since.elapsed() < PROBED
        {
            return answer.clone();
        }
        let connected = TcpStream::connect_timeout(&self.address, TIMEOUT);
        let answer = connected.map(drop).map_err(|cause| format!("kaspad cannot be reached at {}: {cause}", self.address));
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_program_is_ready_when_peers_can_reach_it() {
        let ready = |addresses, relays: &[&str]| readiness(addresses, relays, || Ok(()));
        assert_eq!(ready((2, 0), &[]), Ok(()), "no relay is asked for");
        assert_eq!(ready((2, 0), &["lost", "confirmed"]), Ok(()));
        assert_eq!(ready((0, 0), &["confirmed"]), Ok(()), "it is found through the relay");
        assert_eq!(ready((2, 1), &["requested"]), Ok(()), "it is found directly");
        assert!(ready((2, 0), &["requested", "lost", "unknown"]).unwrap_err().contains("no relay has confirmed"));
        assert!(ready((0, 0), &[]).unwrap_err().contains("listens nowhere"));
        assert!(readiness((2, 0), &[], || Err("kaspad".into())).is_err());
    }

    #[test]
    fn kaspad_is_asked_once_for_all_who_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = Probe::new(listener.local_addr().unwrap());
        assert_eq!([probe.answers(), probe.answers()], [Ok(()), Ok(())]);
        listener.accept().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "there was one connection");
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(Probe::new(address).answers().unwrap_err().contains(&address.to_string()));
    }
}
