//! Requests, answers, and the lines that carry them.

use kaspath_domain::{PeerIdentity, PeerRecord, clean};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

use crate::{PeerSelector, Status};

/// The version of the protocol, in the field `version` of every line. A change that
/// an older program would misread gets a new one.
pub const VERSION: u64 = 1;
/// Bytes of a request's line.
pub const MAX_REQUEST: usize = 64 << 10;
/// Bytes of an answer's line.
pub const MAX_ANSWER: usize = 1 << 20;
/// Bytes of a parser's message that are repeated.
const MAX_CAUSE: usize = 400;

/// What a running program can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it is doing.
    Status {},
    /// A part of the peer book, in the order of the peers' bytes.
    Peers {
        /// Those after this one; from the first if missing.
        after: Option<PeerIdentity>,
    },
    /// What the book knows of one peer.
    Show {
        /// Who.
        peer: PeerSelector,
    },
    /// Keep a peer out, and end its session.
    Ban {
        /// Who.
        peer: PeerSelector,
        /// For how long.
        seconds: u64,
    },
    /// Lift a ban.
    Unban {
        /// Who.
        peer: PeerSelector,
    },
    /// Remove a peer from the book.
    Forget {
        /// Who.
        peer: PeerSelector,
    },
    /// Merge another book's record of a peer into this one's.
    Import {
        /// The record.
        record: Box<PeerRecord>,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `peers`.
    Peers {
        /// A part of the book.
        records: Vec<PeerRecord>,
        /// What to ask for `after` next; `None` at the end.
        next: Option<PeerIdentity>,
    },
    /// To `show`.
    Peer {
        /// What is known.
        record: Box<PeerRecord>,
    },
    /// To a request that changes something, once it has.
    Done {
        /// The peer that was meant.
        peer: PeerIdentity,
    },
    /// The request cannot be fulfilled.
    Error {
        /// Why, and what helps.
        text: String,
    },
}

/// Why a line is not a request, or not an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// It is too long.
    #[error("the line is longer than {0} bytes")]
    TooLong(usize),
    /// It is not a JSON object.
    #[error("the line is not a JSON object: {0}")]
    NotJson(String),
    /// It is of another version.
    #[error("the line is of version {0}, this program speaks version {VERSION}: use the same version at both ends")]
    Version(String),
    /// It is not known.
    #[error("not understood: {0}")]
    Unknown(String),
}

/// Reads a line, with or without its line break: a [`Request`] or an [`Answer`] of at
/// most `max` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn parse<T: DeserializeOwned>(line: &[u8], max: usize) -> Result<T, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > max {
        return Err(ProtocolError::TooLong(max));
    }
    let cause = |error: serde_json::Error| clean(&error.to_string(), MAX_CAUSE);
    let mut value: serde_json::Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| ProtocolError::NotJson(cause(error)))?;
    match value.remove("version") {
        Some(version) if version == VERSION => {}
        Some(version) => return Err(ProtocolError::Version(clean(&version.to_string(), MAX_CAUSE))),
        None => return Err(ProtocolError::Unknown(format!("the field `version` is missing, which is {VERSION}"))),
    }
    serde_json::from_value(Value::Object(value)).map_err(|error| ProtocolError::Unknown(cause(error)))
}

/// A request or an answer as a line, line break included.
///
/// # Errors
/// If it is longer than `max`.
pub fn line(message: &impl Serialize, max: usize) -> Result<Vec<u8>, ProtocolError> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        version: u64,
        #[serde(flatten)]
        message: &'a T,
    }
    let mut line = serde_json::to_vec(&Versioned { version: VERSION, message })
        .map_err(|error| ProtocolError::NotJson(error.to_string()))?;
    if line.len() > max {
        return Err(ProtocolError::TooLong(max));
    }
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn request(text: &str) -> Result<Request, ProtocolError> {
        parse(text.as_bytes(), MAX_REQUEST)
    }

    #[test]
    fn requests_are_written_as_the_documentation_says() {
        let peer = || "4kx6nXTN".parse().unwrap();
        let after: PeerIdentity = A.parse().unwrap();
        let record = Box::new(PeerRecord::new(after.clone(), kaspath_domain::Timestamp::default()));
        for (text, expected) in [
            (r#"{"version":1,"request":"status"}"#, Request::Status {}),
            (r#"{"version":1,"request":"peers"}"#, Request::Peers { after: None }),
            (&format!(r#"{{"version":1,"request":"peers","after":"{A}"}}"#), Request::Peers { after: Some(after) }),
            (r#"{"version":1,"request":"show","peer":"4kx6nXTN"}"#, Request::Show { peer: peer() }),
            (r#"{"version":1,"request":"ban","peer":"4kx6nXTN","seconds":60}"#, Request::Ban { peer: peer(), seconds: 60 }),
            (r#"{"version":1,"request":"unban","peer":"4kx6nXTN"}"#, Request::Unban { peer: peer() }),
            (r#" {"peer":"4kx6nXTN","request":"forget","version":1} "#, Request::Forget { peer: peer() }),
        ] {
            assert_eq!(request(text), Ok(expected.clone()), "{text}");
            assert_eq!(parse(&line(&expected, MAX_REQUEST).unwrap(), MAX_REQUEST), Ok(expected), "{text}");
        }
        let import = Request::Import { record };
        assert_eq!(parse(&line(&import, MAX_REQUEST).unwrap(), MAX_REQUEST), Ok(import));
    }

    #[test]
    fn each_mistake_in_a_request_has_its_own_message() {
        for (text, expected) in [
            ("", "not a JSON object"),
            ("status", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"{"request":"status"}"#, "`version` is missing"),
            (r#"{"version":2,"request":"status"}"#, "of version 2, this program speaks version 1"),
            (r#"{"version":"1","request":"status"}"#, "version \"1\""),
            (r#"{"version":1}"#, "missing field `request`"),
            (r#"{"version":1,"request":"stop"}"#, "unknown variant `stop`"),
            (r#"{"version":1,"request":"status","peer":"4kx6nXTN"}"#, "unknown field `peer`"),
            (r#"{"version":1,"request":"ban","peer":"4kx6nXTN"}"#, "missing field `seconds`"),
            (r#"{"version":1,"request":"ban","peer":"4kx6nXTN","seconds":-1}"#, "invalid value"),
            (r#"{"version":1,"request":"show","peer":"short"}"#, "last 8 characters"),
        ] {
            let error = request(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn hostile_lines_are_refused_with_a_short_clean_message() {
        let long = format!(r#"{{"version":1,"request":"{}"}}"#, "x".repeat(MAX_REQUEST));
        let deep = format!("{}{}", r#"{"version":1,"request":"status","a":"#, "[".repeat(60_000));
        let forged = format!(r#"{{"version":1,"request":"{}\u001b[2J\nforged"}}"#, "y".repeat(2_000));
        for text in [&long, &deep, &forged, "\u{0}", "{\"version\":1,\"request\":{\"status\":{}}}"] {
            let error = request(text).unwrap_err().to_string();
            assert!(error.len() < 600 && !error.chars().any(char::is_control), "{error:?}");
        }
        assert_eq!(request(&long), Err(ProtocolError::TooLong(MAX_REQUEST)));
        assert!(matches!(parse::<Request>(b"\xff\xfe{}", MAX_REQUEST), Err(ProtocolError::NotJson(_))));
    }

    #[test]
    fn an_answer_over_the_limit_is_not_written() {
        let answer = Answer::Error { text: "z".repeat(100) };
        assert_eq!(line(&answer, 99), Err(ProtocolError::TooLong(99)));
        assert_eq!(parse(&line(&answer, MAX_ANSWER).unwrap(), MAX_ANSWER), Ok(answer));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Requests with bytes changed, cut and added: what is read is written as it is read.
        #[test]
        fn no_line_ends_the_program(
            which in 0..4usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let record = PeerRecord::new(A.parse().unwrap(), kaspath_domain::Timestamp::default());
            let peer: PeerSelector = A.parse().unwrap();
            let requests = [
                Request::Import { record: Box::new(record) },
                Request::Ban { peer: peer.clone(), seconds: 1 },
                Request::Peers { after: None },
                Request::Show { peer },
            ];
            let mut bytes = line(&requests[which], MAX_REQUEST).unwrap();
            for (at, with) in changes {
                let at = at.index(bytes.len());
                bytes[at] = with;
            }
            bytes.truncate(bytes.len() - cut.index(3));
            if let Ok(request) = parse::<Request>(&bytes, MAX_REQUEST) {
                prop_assert_eq!(parse(&line(&request, MAX_REQUEST).unwrap(), MAX_REQUEST), Ok(request));
            }
        }
    }
}
