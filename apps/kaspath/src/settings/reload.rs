//! What a changed configuration file changes in a running program.

use std::sync::Arc;

use anyhow::{Context, Result};
use kaspath_node::Node;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Settings, resolve};
use crate::{cli::Cli, output::Printer};

/// Reads the settings again at SIGHUP and applies what can change live.
pub(crate) struct Reload {
    cli: Cli,
    /// What the program was started with and cannot change.
    fixed: Vec<(&'static str, String)>,
    policy: Option<String>,
    printer: Printer,
    hangups: Signal,
}

impl Reload {
    /// `running` are the settings in effect. From here on SIGHUP does not end the
    /// program, so this comes before anybody can know that it runs.
    pub(crate) fn new(cli: Cli, running: &Settings, printer: Printer) -> Result<Self> {
        let hangups = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
        Ok(Self { cli, fixed: running.fixed(), policy: running.policy(), printer, hangups })
    }

    /// Runs until it is dropped.
    pub(crate) async fn at_hangup(mut self, live: Option<Node>) {
        while self.hangups.recv().await.is_some() {
            match resolve(&self.cli, |name| std::env::var(name).ok()) {
                Ok(new) => self.apply(&new, live.as_ref()).await,
                Err(error) => self.printer.own_warning(&format!("the settings are not changed: {error:#}")),
            }
        }
    }

    async fn apply(&mut self, new: &Settings, live: Option<&Node>) {
        let changed = self.fixed.iter().zip(new.fixed()).filter(|(old, new)| **old != *new);
        let fixed: Vec<&str> = changed.map(|(old, _)| old.0).collect();
        if !fixed.is_empty() {
            let names = fixed.join(", ");
            self.printer.warning(&format!("changed in the settings, but only a restart applies it: {names}"));
        }
        match (live, &new.node) {
            (Some(live), Some(node)) if self.policy != new.policy() => {
                self.policy = new.policy();
                live.set_admission(Arc::new(node.inbound.clone()));
                live.set_policy(node.policy.clone().build()).await;
                self.printer.line(&format!("settings read again: the policy is {} now", node.policy.name));
            }
            _ => self.printer.line("settings read again: nothing to apply"),
        }
    }
}

impl Settings {
    /// What only a restart changes, by the keys' names.
    fn fixed(&self) -> Vec<(&'static str, String)> {
        let config = &self.network_config;
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        let (node, gateway) = (self.node.as_ref(), self.gateway.as_ref());
        vec![
            ("appdir or identity", text(&self.identity)),
            ("control-socket or control-group", text(&self.control)),
            ("web", text(&self.web)),
            ("redact", text(&self.output.redact)),
            ("listen", text(&config.listen)),
            ("external-address", text(&config.external)),
            ("relay", text(&config.relays)),
            ("connections", self.asked_limits.section.clone()),
            ("relay-server", text(&config.relay_server)),
            ("remote", text(&node.map(|node| (&node.remotes, &node.remote_ids)))),
            ("network", text(&node.map(|node| node.network))),
            ("kaspa-listen", text(&node.map(|node| node.kaspa_listen))),
            ("kaspad", text(&gateway.map(|gateway| gateway.kaspad))),
            ("kaspad-rpc", text(&gateway.map(|gateway| &gateway.rpc))),
            ("accept-kaspad-transport", text(&gateway.map(|_| &config.protocols))),
            ("inbound.newcomers", text(&gateway.map(|gateway| gateway.newcomers))),
        ]
    }

    /// The policy with all its times, and the inbound limits.
    fn policy(&self) -> Option<String> {
        self.node.as_ref().map(|node| format!("{:?} {:?}", node.policy, node.inbound))
    }
}
