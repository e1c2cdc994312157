//! Namespaces of our own: nothing of the lab exists outside, and the kernel
//! removes everything when the lab's first process ends, however it ends.

use std::{env, io::ErrorKind, os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

const MARK: &str = "KASPATH_LAB_INSIDE";
/// Time for the lab inside to end at a Ctrl-C.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// Whether this process is in the sandbox already.
pub(crate) fn is_inside() -> bool {
    env::var_os(MARK).is_some()
}

/// Runs this program again inside the sandbox; its exit code.
pub(crate) async fn enter() -> Result<u8> {
    // A user namespace needs no root; root may do without where they are forbidden.
    let with_user = ["--user", "--map-root-user"].as_slice();
    let user: &[&str] = if works(with_user).await? {
        with_user
    } else if geteuid().is_root() && works(&[]).await? {
        &[]
    } else {
        bail!(
            "this kernel lets nobody but root make network namespaces here: run as root, or allow user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)"
        );
    };
    let this = env::current_exe().context("cannot find this program")?;
    // setpriv: should this process be killed, unshare follows, and with it all inside.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(user)
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(this)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .spawn()
        .context("cannot start `setpriv` (package util-linux)")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = interrupt.recv() => {
            // A Ctrl-C reaches the lab inside as well, which then ends by itself.
            if let Ok(status) = timeout(INTERRUPT_GRACE, child.wait()).await { status? } else {
                child.kill().await?;
                return Ok(130);
            }
        }
        _ = terminate.recv() => {
            child.kill().await?;
            return Ok(143);
        }
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(u8::try_from(code).unwrap_or(1)),
        (None, signal) => bail!("the lab was ended by signal {}", signal.unwrap_or(0)),
    }
}

async fn works(user: &[&str]) -> Result<bool> {
    let tried = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status()
        .await;
    match tried {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("`unshare` is missing: install the package util-linux"),
        Err(error) => Err(error.into()),
    }
}
