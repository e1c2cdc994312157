//! The thin async shell: runs a plan over dialers.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use kaspath_domain::{
    Attempt, AttemptOutcome, DialError, DialPlan, DialRequest, DuplexStream, MonotonicClock, PlanRequest, PolicyError, Stage,
    StreamDialer, TransportPolicy,
};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout};

/// Why a peer was not reached.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// The policy made no plan.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Every attempt failed.
    #[error("no way to the peer works: {}", summarize(.0))]
    AllFailed(Vec<AttemptOutcome>),
}

fn summarize(outcomes: &[AttemptOutcome]) -> String {
    let failures = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err().map(|error| (&outcome.route, error)));
    let lines: Vec<_> = failures.map(|(route, error)| format!("{route}: {error}")).collect();
    if lines.is_empty() { "the plan was empty".to_owned() } else { lines.join("; ") }
}

/// Asks a policy for plans and runs them. Each dial goes to the first dialer
/// that serves it.
pub struct Executor {
    policy: Arc<dyn TransportPolicy>,
    dialers: Vec<Arc<dyn StreamDialer>>,
    clock: MonotonicClock,
}

impl Executor {
    /// `clock` gives the moments that the policy sees: the same one for all that ask it.
    pub fn new(policy: Arc<dyn TransportPolicy>, dialers: Vec<Arc<dyn StreamDialer>>, clock: MonotonicClock) -> Self {
        Self { policy, dialers, clock }
    }

    /// Reaches a peer: plans, dials, tells the policy how each attempt ended, and
    /// returns the first stream with the outcomes that led to it.
    ///
    /// Dropping the future cancels every dial.
    pub async fn reach(&self, request: &PlanRequest) -> Result<(DuplexStream, Vec<AttemptOutcome>), ExecuteError> {
        let plan = self.policy.plan(request, self.clock.now())?;
        self.run(plan).await
    }

    /// Runs a given plan.
    pub async fn run(&self, plan: DialPlan) -> Result<(DuplexStream, Vec<AttemptOutcome>), ExecuteError> {
        let mut outcomes = Vec::new();
        for stage in plan.stages {
            if let Some(stream) = self.run_stage(stage, &mut outcomes).await {
                return Ok((stream, outcomes));
            }
        }
        Err(ExecuteError::AllFailed(outcomes))
    }

    async fn run_stage(&self, stage: Stage, outcomes: &mut Vec<AttemptOutcome>) -> Option<DuplexStream> {
        let begin = Instant::now();
        let mut waiting = stage.attempts.into_iter().peekable();
        let mut running = FuturesUnordered::new();
        let mut under_way: Vec<(DialRequest, Instant)> = Vec::new();
        loop {
            // With nothing under way the next attempt need not wait for its turn.
            if running.is_empty() {
                let attempt = waiting.next()?;
                under_way.push((attempt.request.clone(), Instant::now()));
                running.push(self.attempt(attempt));
            }
            let next_start = waiting.peek().map(|attempt| begin + attempt.start_after);
            tokio::select! {
                biased;
                Some((stream, outcome)) = running.next() => {
                    self.policy.observe(&outcome, self.clock.now());
                    tracing::debug!(route = %outcome.route, result = ?outcome.result, elapsed = ?outcome.elapsed, "attempt ended");
                    under_way.retain(|(request, _)| request.route != outcome.route);
                    outcomes.push(outcome);
                    if stream.is_some() {
                        // Dropping the others cancels them; the policy learns that they were too slow.
                        under_way.into_iter().for_each(|(request, since)| self.overtaken(request, since));
                        return stream;
                    }
                }
                () = sleep_until(next_start.unwrap_or(begin)), if next_start.is_some() => {
                    if let Some(attempt) = waiting.next() {
                        under_way.push((attempt.request.clone(), Instant::now()));
                        running.push(self.attempt(attempt));
                    }
                }
            }
        }
    }

    fn overtaken(&self, DialRequest { peer, route, .. }: DialRequest, since: Instant) {
        let outcome = AttemptOutcome { peer, route, result: Err(DialError::Overtaken), elapsed: since.elapsed() };
        self.policy.observe(&outcome, self.clock.now());
    }

    async fn attempt(&self, Attempt { request, .. }: Attempt) -> (Option<DuplexStream>, AttemptOutcome) {
        let begin = Instant::now();
        let (peer, route, deadline) = (request.peer.clone(), request.route.clone(), request.deadline);
        let dialed = match self.dialers.iter().find(|dialer| dialer.supports(&request)) {
            // A dialer keeps its own deadline; this one guards against one that does not.
            Some(dialer) => timeout(deadline * 2, dialer.dial(request))
                .await
                .unwrap_or(Err(DialError::Timeout { after: deadline * 2, doing: "waiting for a dialer that overran" })),
            None => Err(DialError::Unsupported(Box::new(route.clone()))),
        };
        let result = dialed.as_ref().map(DuplexStream::path).map_err(Clone::clone);
        (dialed.ok(), AttemptOutcome { peer, route, result, elapsed: begin.elapsed() })
    }
}
