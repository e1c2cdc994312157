//! A kaspath program that Prometheus scrapes, and that is killed and started again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::prometheus::Target;
use crate::{
    evidence::Evidence,
    net::Host,
    process::Program,
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
    running: Option<Program>,
    pub(super) peer: String,
    events: Vec<Value>,
}

impl Unit {
    /// Starts `kaspath args` with an appdir and a `/metrics` of its own.
    pub(super) async fn start(place: &Place, name: &'static str, web: u16, args: &[&str]) -> Result<Self> {
        let (appdir, listen) = (place.dir(name).display().to_string(), format!("127.0.0.1:{web}"));
        let common = ["--appdir", &appdir, "--log-format", "json", "--web-listen", &listen];
        let args = strings(&[args, &common].concat());
        let (host, kaspath) = (place.host.clone(), place.kaspath.clone());
        let mut unit = Self { name, web, host, kaspath, args, running: None, peer: String::new(), events: Vec::new() };
        unit.start_again().await?;
        Ok(unit)
    }

    /// Starts it again with the same identity, if it does not run.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        if self.running.is_none() {
            let mut program = Program::start(self.name, &self.host, &self.kaspath, &self.args)?;
            self.peer = started(&mut program).await?;
            self.running = Some(program);
        }
        Ok(())
    }

    /// Ends it by SIGKILL; the kernel closes its sockets.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let program = self.running.take().with_context(|| format!("{} does not run", self.name))?;
        self.events.extend(program.kill().await?);
        Ok(())
    }

    /// Ends it in order, if it runs.
    pub(super) async fn stop(&mut self) -> Result<()> {
        if let Some(program) = self.running.take() {
            self.events.extend(program.stop().await?);
        }
        Ok(())
    }

    /// The same, and keeps its events.
    pub(super) async fn finish(mut self, evidence: &Evidence) -> Result<()> {
        self.stop().await?;
        evidence.events(self.name, &self.events)
    }

    pub(super) fn program(&mut self) -> Result<&mut Program> {
        self.running.as_mut().with_context(|| format!("{} does not run", self.name))
    }

    pub(super) fn target(&self) -> Target {
        Target { instance: self.name, port: self.web }
    }
}

/// Flags of a relay at these ports of a host.
pub(super) fn listening(port: u16) -> [String; 4] {
    ["-l".to_owned(), format!("/ip4/0.0.0.0/tcp/{port}"), "-l".to_owned(), format!("/ip4/0.0.0.0/udp/{port}/quic-v1")]
}

/// Writes a file of settings; its path.
pub(super) fn settings(dir: &Path, name: &str, text: &str) -> Result<String> {
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}
