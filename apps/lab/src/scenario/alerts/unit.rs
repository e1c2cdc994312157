//! A kaspath program that Prometheus scrapes, and that is killed and started again.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::prometheus::Target;
use crate::{
    evidence::Evidence,
    net::Host,
    process::{Program, Restartable},
    scenario::cast::{started, strings},
};

/// Where programs and their data are.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) host: Host,
    pub(super) kaspath: PathBuf,
    pub(super) dirs: PathBuf,
}

impl Place {
    pub(super) fn at(&self, host: &Host) -> Self {
        Self { host: host.clone(), ..self.clone() }
    }

    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.dirs.join(name)
    }
}

pub(super) struct Unit {
    pub(super) name: &'static str,
    /// The port of its `/metrics`, on its host's loopback.
    web: u16,
    host: Host,
    kaspath: PathBuf,
    args: Vec<String>,
    program: Restartable,
    pub(super) peer: String,
}

impl Unit {
    /// Starts `kaspath args` with an appdir and a `/metrics` of its own.
    pub(super) async fn start(place: &Place, name: &'static str, web: u16, args: &[&str]) -> Result<Self> {
        let (appdir, listen) = (place.dir(name).display().to_string(), format!("127.0.0.1:{web}"));
        let common = ["--appdir", &appdir, "--log-format", "json", "--web-listen", &listen];
        let args = strings(&[args, &common].concat());
        let (host, kaspath) = (place.host.clone(), place.kaspath.clone());
        let mut program = Program::start(name, &host, &kaspath, &args)?;
        let peer = started(&mut program).await?;
        Ok(Self { name, web, host, kaspath, args, program: Restartable::new(program), peer })
    }

    /// Starts a relay at this port, over TCP and QUIC.
    pub(super) async fn relay(place: &Place, name: &'static str, port: u16, web: u16, more: &[&str]) -> Result<Self> {
        let [tcp, quic] = [format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip4/0.0.0.0/udp/{port}/quic-v1")];
        Self::start(place, name, web, &[&["relay", "-l", &tcp, "-l", &quic][..], more].concat()).await
    }

    /// Starts it again with the same identity, if it does not run.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        if !self.program.is_running() {
            let mut program = Program::start(self.name, &self.host, &self.kaspath, &self.args)?;
            started(&mut program).await?;
            self.program.started(program);
        }
        Ok(())
    }

    /// Ends it by SIGKILL; the kernel closes its sockets.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.program.kill().await
    }

    /// Ends it in order, if it runs.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.program.stop().await.map(drop)
    }

    /// The same, and keeps its events.
    pub(super) async fn finish(mut self, evidence: &Evidence) -> Result<()> {
        evidence.events(self.name, self.program.stop().await?)
    }

    pub(super) fn program(&mut self) -> Result<&mut Program> {
        self.program.program()
    }

    /// The host on which it runs.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn target(&self) -> Target {
        Target { instance: self.name, port: self.web }
    }
}

/// Writes a file of settings; its path.
pub(super) fn settings(dir: &Path, name: &str, text: &str) -> Result<String> {
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}
