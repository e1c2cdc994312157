//! Threads inside a host: their sockets are the host's.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Context, Result, anyhow};
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

/// Runs `job` in the namespace, and waits for it.
pub(crate) fn inside<T: Send + 'static>(namespace: &str, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    in_namespace(namespace, job).join().map_err(|_| anyhow!("the namespace's thread panicked"))?
}

/// Takes a port of all addresses of IPv4 in the namespace, for TCP and UDP.
pub(super) fn bind_both(namespace: &str, port: u16) -> Result<(TcpListener, UdpSocket)> {
    inside(namespace, move || {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?))
    })
}
