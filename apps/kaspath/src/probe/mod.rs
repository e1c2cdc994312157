//! `kaspath probe`: does a relay do its work? From outside, as two peers of its own see it.
//!
//! | file | what it does |
//! |---|---|
//! | `plan` | what to probe, from the command line |
//! | `peer` | one of the two peers |
//! | `steps` | connects, reserves, calls and echoes |
//! | `verdict` | what that says of the relay, and the exit codes: pure |
//! | `report` | text and JSON |

mod peer;
mod plan;
mod report;
mod steps;
mod verdict;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::output;
pub(crate) use plan::Plan;
use report::Report;
use steps::Steps;
use verdict::{Failure, Verdict};

/// Time for a lookup that nobody waits for any more.
const LEFT_BEHIND: Duration = Duration::from_millis(100);

/// Probes the relay and prints what is found; gives the exit code.
///
/// # Errors
/// What is wrong here, not with the relay.
pub(crate) fn run(plan: &Plan, redacted: bool) -> Result<u8> {
    if redacted {
        output::hide_names(plan.names().cloned());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let began = Instant::now();
        let mut steps = Steps::new(Report::new(plan.relay.clone(), plan.json, redacted), began, plan.timeout);
        let outcome = steps.all(plan).await;
        let report = steps.into_report();
        match outcome {
            Ok(text) => report.end(Verdict::Healthy, &text, began.elapsed()),
            Err(error) => {
                let failure = error.downcast::<Failure>()?;
                report.end(failure.verdict, &failure.text, began.elapsed())
            }
        }
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    code
}
