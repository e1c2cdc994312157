//! Work beside the main job, whose unexpected end ends the program.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use kaspath_transport_libp2p::Network;
use tokio::{task::JoinSet, time::timeout};

/// Tasks that use the network end a moment before its own end is known.
const SAME_CAUSE: Duration = Duration::from_secs(1);

/// Returns when the network or one of the tasks has ended unexpectedly, with
/// the reason. Dropping the future is safe.
pub(crate) async fn unexpected_end(network: &Network, tasks: &mut Tasks) -> Error {
    let of_network = |end: Result<(), _>| match end {
        Ok(()) => anyhow!("the network task ended although it was not stopped"),
        Err(failure) => Error::new(failure),
    };
    tokio::select! {
        end = network.ended() => of_network(end),
        failure = tasks.failure() => match timeout(SAME_CAUSE, network.ended()).await {
            Ok(end) => of_network(end),
            Err(_) => failure,
        },
    }
}

/// Tasks that run until they are dropped.
#[derive(Default)]
pub(crate) struct Tasks(JoinSet<Result<&'static str>>);

impl Tasks {
    /// Work that does not end by itself.
    pub(crate) fn endless(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            work.await;
            Ok(name)
        });
    }

    /// Work that returns why it ends.
    pub(crate) fn fallible(&mut self, name: &'static str, work: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(async move { work.await.map(|()| name) });
    }

    /// Returns when one of them has ended, with the reason. Dropping the future is safe.
    pub(crate) async fn failure(&mut self) -> Error {
        match self.0.join_next().await {
            Some(Ok(Ok(name))) => anyhow!("{name} ended although it was not stopped, which is a defect of this program"),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow!("a task failed, which is a defect of this program: {error}"),
            None => std::future::pending().await,
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
        assert!(tasks.failure().await.to_string().starts_with("counting ended although it was not stopped"));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.endless("waiting", std::future::pending());
        tasks.endless("failing", async { panic!("a defect") });
        assert!(tasks.failure().await.to_string().contains("a defect"));
    }
}
