//! The two relays of the world.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::cast::start_relay_at;
use crate::{
    net::{Host, Lab, RELAY_IP},
    process::Program,
};

/// The second one, in another prefix.
const SECOND_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const IPS: [Ipv4Addr; 2] = [RELAY_IP, SECOND_IP];

/// A relay that can be killed and started again.
pub(super) struct Relay {
    pub(super) host: Host,
    ip: Ipv4Addr,
    appdir: PathBuf,
    kaspath: PathBuf,
    program: Option<Program>,
    pub(super) peer: String,
    /// Its TCP address, by which it is configured.
    pub(super) address: String,
    pub(super) events: Vec<Value>,
}

impl Relay {
    /// Starts both.
    pub(super) async fn start_both(lab: &mut Lab, kaspath: &Path, dirs: &Path) -> Result<[Self; 2]> {
        let second = lab.add_public(SECOND_IP)?;
        Ok([
            Self::start(lab.relay.clone(), RELAY_IP, kaspath, dirs.join("relay-0")).await?,
            Self::start(second, SECOND_IP, kaspath, dirs.join("relay-1")).await?,
        ])
    }

    async fn start(host: Host, ip: Ipv4Addr, kaspath: &Path, appdir: PathBuf) -> Result<Self> {
        let (program, addresses) = start_relay_at(&host, ip, kaspath, &appdir.display().to_string()).await?;
        let (program, kaspath, events) = (Some(program), kaspath.into(), Vec::new());
        Ok(Self { host, ip, appdir, kaspath, program, peer: addresses.peer, address: addresses.tcp, events })
    }

    /// Ends it by SIGKILL; the kernel closes its sockets.
    pub(super) fn kill(&mut self) -> Result<()> {
        let mut program = self.program.take().context("the relay does not run")?;
        program.drain();
        self.events.append(&mut program.events);
        Ok(())
    }

    /// Starts it again if it does not run, with the same identity.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        if self.program.is_none() {
            let appdir = self.appdir.display().to_string();
            self.program = Some(start_relay_at(&self.host, self.ip, &self.kaspath, &appdir).await?.0);
        }
        Ok(())
    }

    /// Whether it holds reservations of all these peers. Those that it had before it was
    /// killed do not count, though a peer may not know yet that they are gone.
    pub(super) fn has_reserved(&mut self, peers: &[String]) -> bool {
        let Some(program) = &mut self.program else { return false };
        program.drain();
        peers.iter().all(|peer| {
            let of_peer = program.events.iter().rev().filter(|event| event["peer"] == peer.as_str());
            let mut changes = of_peer.filter_map(|event| event["event"].as_str()?.strip_prefix("relay-reservation-"));
            changes.next() == Some("accepted")
        })
    }

    /// Ends it in order; its events.
    pub(super) async fn stop(&mut self) -> Result<&[Value]> {
        if let Some(program) = self.program.take() {
            self.events.extend(program.stop().await?);
        }
        Ok(&self.events)
    }
}
