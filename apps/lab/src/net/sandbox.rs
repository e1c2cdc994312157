//! Namespaces of our own: nothing of the lab exists outside, and the kernel
//! removes everything when the lab's first process ends, however it ends.

use std::{
    env,
    io::ErrorKind,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

const MARK: &str = "KASPATH_LAB_INSIDE";

/// Whether this process is in the sandbox already.
pub(crate) fn is_inside() -> bool {
    env::var_os(MARK).is_some()
}

/// Runs this program again inside the sandbox; its exit code.
pub(crate) fn enter() -> Result<u8> {
    // A user namespace needs no root; root may do without where they are forbidden.
    let with_user = ["--user", "--map-root-user"].as_slice();
    let user: &[&str] = if works(with_user)? {
        with_user
    } else if geteuid().is_root() && works(&[])? {
        &[]
    } else {
        bail!(
            "this kernel lets nobody but root make network namespaces here: run as root, or allow user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, and kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)"
        );
    };
    let this = env::current_exe().context("cannot find this program")?;
    let mut child = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(this)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .spawn()
        .context("cannot start `unshare` (package util-linux)")?;
    let status = child.wait()?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(u8::try_from(code).unwrap_or(1)),
        (None, signal) => bail!("the lab was ended by signal {}", signal.unwrap_or(0)),
    }
}

fn works(user: &[&str]) -> Result<bool> {
    let tried =
        Command::new("unshare").args(user).args(["--net", "--mount", "--pid", "--fork", "true"]).stderr(Stdio::null()).status();
    match tried {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("`unshare` is missing: install the package util-linux"),
        Err(error) => Err(error.into()),
    }
}
