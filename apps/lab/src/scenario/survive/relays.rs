//! The two relays of the world.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::Value;

use super::super::cast::start_relay_with;
use crate::{
    net::{Host, Lab, RELAY_IP},
    process::Restartable,
};

/// The second one, in another prefix.
const SECOND_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const IPS: [Ipv4Addr; 2] = [RELAY_IP, SECOND_IP];

/// How long a relay that ends gives its circuits to move.
const DRAIN: &str = "10s";

/// A relay that can be killed and started again.
pub(super) struct Relay {
    pub(super) host: Host,
    ip: Ipv4Addr,
    appdir: PathBuf,
    kaspath: PathBuf,
    program: Restartable,
    pub(super) peer: String,
    /// Its TCP address, by which it is configured.
    pub(super) address: String,
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
        let (program, addresses) = start_relay_with(&host, ip, kaspath, &appdir.display().to_string(), DRAIN).await?;
        let (program, kaspath) = (Restartable::new(program), kaspath.into());
        Ok(Self { host, ip, appdir, kaspath, program, peer: addresses.peer, address: addresses.tcp })
    }

    /// Ends it by SIGKILL; the kernel closes its sockets.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.program.kill().await
    }

    /// Tells it to take nothing new, and to end when its circuits have moved.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.program.program()?.terminate()
    }

    /// Waits until it has ended in order.
    pub(super) async fn drained(&mut self) -> Result<()> {
        self.program.ended().await
    }

    /// Starts it again if it does not run, with the same identity.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        if !self.program.is_running() {
            let appdir = self.appdir.display().to_string();
            self.program.started(start_relay_with(&self.host, self.ip, &self.kaspath, &appdir, DRAIN).await?.0);
        }
        Ok(())
    }

    /// Whether it holds reservations of all these peers. Those that it had before it was
    /// killed do not count, though a peer may not know yet that they are gone.
    pub(super) fn has_reserved(&mut self, peers: &[String]) -> bool {
        let Ok(program) = self.program.program() else { return false };
        program.drain();
        peers.iter().all(|peer| {
            let of_peer = program.events.iter().rev().filter(|event| event["peer"] == peer.as_str());
            let mut changes = of_peer.filter_map(|event| event["event"].as_str()?.strip_prefix("relay-reservation-"));
            changes.next() == Some("accepted")
        })
    }

    /// Ends it in order; its events.
    pub(super) async fn stop(&mut self) -> Result<&[Value]> {
        self.program.stop().await
    }
}
