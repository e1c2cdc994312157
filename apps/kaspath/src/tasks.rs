//! Work beside the main job, whose unexpected end ends the program.

use anyhow::{Error, Result, anyhow};
use tokio::task::JoinSet;

/// Tasks that run until they are dropped.
#[derive(Default)]
pub(crate) struct Tasks(JoinSet<Result<Option<&'static str>>>);

impl Tasks {
    /// Work that has no end of its own.
    pub(crate) fn endless(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            work.await;
            Ok(Some(name))
        });
    }

    /// Work that ends with the network, whose own end is reported elsewhere.
    pub(crate) fn following(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            work.await;
            Ok(None)
        });
    }

    /// Returns when one of them has ended, with the reason. Dropping the future is safe.
    pub(crate) async fn failure(&mut self) -> Error {
        loop {
            return match self.0.join_next().await {
                Some(Ok(Ok(None))) => continue,
                Some(Ok(Ok(Some(name)))) => {
                    anyhow!("{name} ended although nobody stopped it, which is a defect of this program")
                }
                Some(Ok(Err(error))) => error,
                Some(Err(error)) => anyhow!("a task failed, which is a defect of this program: {error}"),
                None => std::future::pending().await,
            };
        }
    }

    /// Ends all and waits for that.
    pub(crate) async fn shutdown(&mut self) {
        self.0.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_endless_work_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.endless("waiting", std::future::pending());
        tasks.endless("counting", async {});
        assert!(tasks.failure().await.to_string().starts_with("counting ended although nobody stopped it"));
    }

    #[tokio::test]
    async fn what_follows_the_network_may_end_but_not_panic() {
        let mut tasks = Tasks::default();
        tasks.following(async {});
        tasks.following(async { panic!("a defect") });
        assert!(tasks.failure().await.to_string().contains("a defect"));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.endless("waiting", std::future::pending());
        tasks.endless("failing", async { panic!("a defect") });
        assert!(tasks.failure().await.to_string().contains("a defect"));
    }
}
