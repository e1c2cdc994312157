//! Threads inside a host: their sockets are the host's.

use std::{fs::File, thread};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

/// Runs `job` on a thread of its own, which stays in the namespace that it enters.
pub(crate) fn in_namespace<T: Send + 'static>(
    namespace: &str,
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> thread::JoinHandle<Result<T>> {
    let path = format!("/run/netns/{namespace}");
    thread::spawn(move || {
        let target = File::open(&path).with_context(|| path.clone())?;
        setns(&target, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
        job()
    })
}
