//! What a probe tells, as text while it goes on or as one JSON object at its end.

use std::time::Duration;

use anyhow::Result;
use kaspath_domain::{PeerIdentity, TransportAddress, clean};
use serde::Serialize;

use super::verdict::{Failure, Verdict};
use crate::output;

/// Bytes of a printed text: causes hold what a remote says.
const MAX_TEXT: usize = 512;

/// The result. Its JSON form is stable: docs/relay.md.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    relay: PeerIdentity,
    verdict: Verdict,
    code: u8,
    text: String,
    seconds: f64,
    steps: Vec<Step>,
    /// Where the relay sees us.
    observed: Vec<String>,
    /// Seconds that a circuit lasts at most.
    circuit_duration: Option<f64>,
    /// Bytes of a circuit.
    circuit_bytes: Option<u64>,
    #[serde(skip)]
    json: bool,
    #[serde(skip)]
    redact: bool,
}

#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    ok: bool,
    seconds: f64,
    text: String,
}

impl Report {
    pub(super) fn new(relay: PeerIdentity, json: bool, redact: bool) -> Self {
        Self {
            relay,
            verdict: Verdict::Faulty,
            code: 0,
            text: String::new(),
            seconds: 0.0,
            steps: Vec::new(),
            observed: Vec::new(),
            circuit_duration: None,
            circuit_bytes: None,
            json,
            redact,
        }
    }

    /// A step is done.
    pub(super) fn step(&mut self, step: &'static str, took: Duration, text: &str) -> Result<()> {
        self.ended(step, true, took, text)
    }

    /// A step has failed.
    pub(super) fn failed(&mut self, step: &'static str, took: Duration, failure: &Failure) -> Result<()> {
        self.ended(step, false, took, &failure.text)
    }

    fn ended(&mut self, step: &'static str, ok: bool, took: Duration, text: &str) -> Result<()> {
        let text = clean(text, MAX_TEXT);
        if !self.json {
            let failed = if ok { "" } else { "failed: " };
            output::answer(&format!("{:>9.1} ms  {step:<8}  {failed}{text}\n", took.as_secs_f64() * 1000.0), self.redact)?;
        }
        self.steps.push(Step { step, ok, seconds: took.as_secs_f64(), text });
        Ok(())
    }

    pub(super) fn observed(&mut self, address: &TransportAddress) {
        self.observed.push(address.to_string());
    }

    pub(super) fn circuit_limits(&mut self, duration: Option<Duration>, bytes: Option<u64>) {
        (self.circuit_duration, self.circuit_bytes) = (duration.map(|duration| duration.as_secs_f64()), bytes);
    }

    /// The verdict, printed; gives the exit code.
    pub(super) fn end(mut self, verdict: Verdict, text: &str, took: Duration) -> Result<u8> {
        (self.verdict, self.code, self.seconds) = (verdict, verdict.exit_code(), took.as_secs_f64());
        self.text = clean(text, MAX_TEXT);
        let text = if self.json { serde_json::to_string(&self)? + "\n" } else { format!("{verdict}: {}\n", self.text) };
        output::answer(&text, self.redact)?;
        Ok(self.code)
    }
}
