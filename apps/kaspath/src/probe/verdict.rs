//! What is found of a relay: pure.

use std::{fmt, time::Duration};

use kaspath_domain::DialError;
use serde::Serialize;

/// What is found, in one word. The names and exit codes are stable: monitoring scripts use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Reservation, circuit and bytes both ways.
    Healthy,
    /// It has no room for a reservation or a circuit, or not for our address.
    Full,
    /// It is going down, and takes nothing new.
    Draining,
    /// It does not serve these identities, or wants a token that it was not given.
    Refused,
    /// It cannot be connected, or somebody else answers there.
    Dead,
    /// It answers, and does not do a relay's work.
    Faulty,
}

impl Verdict {
    /// The exit code. Those below 10 are the program's own.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Full => 10,
            Self::Draining => 11,
            Self::Refused => 12,
            Self::Dead => 13,
            Self::Faulty => 14,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Refused => "refused",
            Self::Dead => "dead",
            Self::Faulty => "faulty",
        })
    }
}

/// Why the probe ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    pub(super) text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict, self.text)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    pub(super) fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into() }
    }
}

/// The relay cannot be connected.
pub(super) fn unconnected(error: &DialError) -> Failure {
    let text = match error {
        DialError::WrongPeer { expected, found } => format!(
            "another peer answers there: {found}, not {expected}. The address is another relay's, or the relay has a new \
             identity; it prints its address with its peer id when it starts"
        ),
        DialError::Unreachable { cause, .. } => {
            format!("no connection: {cause}. Is the relay running, and does its firewall let this port in?")
        }
        DialError::Timeout { after, .. } => {
            format!("no connection within {:.1} s: the host is down, or a firewall drops the packets", after.as_secs_f64())
        }
        other => format!("no connection: {other}"),
    };
    Failure::new(Verdict::Dead, text)
}

/// The relay says that it ends in so much time.
pub(super) fn draining(left: Duration) -> Failure {
    Failure::new(Verdict::Draining, format!("it takes nothing new, and ends in {:.0} s at most", left.as_secs_f64()))
}

/// The relay ended the reservation, or gave none, for this cause.
pub(super) fn unreserved(cause: &str) -> Failure {
    of_refusal("reservation", cause)
}

/// The circuit did not come about.
pub(super) fn uncircuited(error: &DialError) -> Failure {
    match error {
        DialError::RelayRefused { cause, .. } => of_refusal("circuit", cause),
        other => Failure::new(Verdict::Faulty, format!("it opened no circuit: {other}")),
    }
}

/// What a refusal says. The causes are the transport's, which repeats the relay's status.
fn of_refusal(of: &str, cause: &str) -> Failure {
    let says = |part: &str| cause.to_ascii_lowercase().contains(part);
    if says("resource limit") {
        let text = format!("it has no room for a {of}: one of its limits, or this address's part of it, is used up");
        Failure::new(Verdict::Full, text)
    } else if says("wants a token") {
        Failure::new(Verdict::Refused, format!("it gives this peer no {of}: {cause}; give its token with --token-file"))
    } else if says("permission") || says("access list") {
        Failure::new(Verdict::Refused, format!("it gives this peer no {of}: it does not serve it, or not from its address"))
    } else if says("does not support") || says("negotiation failed") {
        Failure::new(Verdict::Faulty, "it is no relay: it does not speak circuit relay v2".to_owned())
    } else {
        Failure::new(Verdict::Faulty, format!("it gave no {of}: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [(Verdict, &str, u8); 6] = [
        (Verdict::Healthy, "healthy", 0),
        (Verdict::Full, "full", 10),
        (Verdict::Draining, "draining", 11),
        (Verdict::Refused, "refused", 12),
        (Verdict::Dead, "dead", 13),
        (Verdict::Faulty, "faulty", 14),
    ];

    #[test]
    fn names_and_exit_codes_never_change() {
        for (verdict, name, code) in CODES {
            assert_eq!((verdict.to_string().as_str(), verdict.exit_code()), (name, code));
            assert_eq!(serde_json::to_string(&verdict).unwrap(), format!("{name:?}"));
        }
    }

    #[test]
    fn each_way_to_fail_has_its_verdict() {
        let timeout = DialError::Timeout { after: Duration::from_secs(5), doing: "connecting" };
        assert_eq!(unconnected(&timeout).verdict, Verdict::Dead);
        let peer: kaspath_domain::PeerIdentity = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap();
        let wrong = unconnected(&DialError::WrongPeer { expected: peer.clone(), found: peer.clone() });
        assert!(wrong.verdict == Verdict::Dead && wrong.text.contains("another peer answers"), "{wrong:?}");
        let refused = |cause: &str| {
            let cause = cause.to_owned();
            uncircuited(&DialError::RelayRefused { relay: peer.clone(), cause }).verdict
        };
        assert_eq!(refused("Failed to connect to destination.: Remote reported resource limit exceeded."), Verdict::Full);
        assert_eq!(refused("Failed to connect to destination.: Remote denied permission."), Verdict::Refused);
        assert_eq!(refused("Failed to connect to destination.: Relay has no reservation for destination."), Verdict::Faulty);
        assert_eq!(uncircuited(&timeout).verdict, Verdict::Faulty, "it answered before");
        for cause in ["the relay wants a token: none is set for it here", "the relay's access list does not allow this node"] {
            assert_eq!(unreserved(cause).verdict, Verdict::Refused, "{cause}");
        }
        assert_eq!(draining(Duration::from_secs(9)).verdict, Verdict::Draining);
    }
}
