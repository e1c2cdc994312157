//! What a host's resolver reads instead of the system's files.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tokio::process::Command;

use crate::{net::Host, process::in_host};

/// The files of one or several hosts.
pub(super) struct Names {
    hosts: PathBuf,
    resolver: PathBuf,
}

impl Names {
    /// No name resolves; a nameserver is asked if there is one.
    pub(super) fn create(dir: &Path, nameserver: Option<IpAddr>) -> Result<Self> {
        let names = Self { hosts: dir.join("hosts"), resolver: dir.join("resolv.conf") };
        fs::write(&names.hosts, "127.0.0.1 localhost\n")?;
        // Nobody listens on loopback: the answer is an error, at once.
        let ip = nameserver.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        fs::write(&names.resolver, format!("nameserver {ip}\noptions timeout:1 attempts:1\n"))?;
        Ok(names)
    }

    /// From now on the name has this address. Written into the same file, for it is mounted.
    pub(super) fn add(&self, name: &str, ip: IpAddr) -> Result<()> {
        Ok(fs::write(&self.hosts, format!("127.0.0.1 localhost\n{ip} {name}\n"))?)
    }

    /// Runs the program that its arguments name, with these files mounted over the
    /// system's in a mount namespace of its own.
    pub(super) fn in_host(&self, host: &Host) -> Command {
        let mut command = in_host(host, Path::new("unshare"));
        let script = "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(&self.hosts).arg(&self.resolver);
        command
    }
}

/// The arguments of that command, which begin with the program.
pub(super) fn with_program(program: &Path, args: &[String]) -> Vec<String> {
    [&[program.display().to_string()], args].concat()
}
