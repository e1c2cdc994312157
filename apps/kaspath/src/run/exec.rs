//! Becomes kaspad.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Result, bail};

/// Becomes the command. On Linux the system then ends it when its parent dies, so
/// that no kaspad is left to hold its database when this program is killed.
pub(crate) fn exec(command: &[String]) -> Result<()> {
    let Some((program, args)) = command.split_first() else { bail!("nothing to run") };
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    let error = Command::new(program).args(args).exec();
    bail!("cannot run {program}: {error}")
}
