//! What runs beside a gateway and must not end before it.

use anyhow::{Error, Result, anyhow};
use tokio::task::JoinSet;

/// Background tasks. None of them ends in order: whatever ends one, a panic too, is a
/// failure of the program.
#[derive(Default)]
pub(super) struct Tasks(JoinSet<Result<()>>);

impl Tasks {
    /// Runs work that has no end of its own; `name` is what it does.
    pub(super) fn keep(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(async move {
            work.await;
            Err(anyhow!("{name} ended unexpectedly"))
        });
    }

    /// Runs work that says itself why it ends.
    pub(super) fn spawn(&mut self, work: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(work);
    }

    /// Waits for the first task that ends; why it did. Dropping the future loses
    /// nothing.
    pub(super) async fn failed(&mut self) -> Error {
        match self.0.join_next().await {
            Some(Ok(Ok(()))) => anyhow!("a background task ended unexpectedly"),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => Error::new(error).context("a background task failed, which is a defect"),
            None => std::future::pending().await,
        }
    }

    /// Ends them all, and waits for that.
    pub(super) async fn shutdown(&mut self) {
        self.0.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_end_of_a_task_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.keep("idling", std::future::pending());
        tasks.keep("serving", async {});
        assert_eq!(tasks.failed().await.to_string(), "serving ended unexpectedly");
        tasks.keep("serving", async { panic!("a defect of the test") });
        let panicked = format!("{:#}", tasks.failed().await);
        assert!(panicked.contains("a defect of the test"), "{panicked}");
        tasks.spawn(async { Err(anyhow!("the listener is closed")) });
        assert_eq!(tasks.failed().await.to_string(), "the listener is closed");
        tasks.shutdown().await;
    }
}
