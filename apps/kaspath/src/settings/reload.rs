//! What a changed configuration file changes in a running program.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use kaspath_domain::PeerIdentity;
use kaspath_node::Node;
use kaspath_transport_libp2p::{Network, RelayServerConfig, RelayToken};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{RelaySettings, Settings, relay, resolve};
use crate::{
    cli::Cli,
    output::{Printer, ProgramEvent, WarningCode},
};

/// What runs, and takes new settings.
pub(crate) enum Live {
    /// With the settings that are not the network's.
    Relay(Arc<Network>, watch::Sender<RelaySettings>),
    Node(Node),
}

/// Reads the settings again at SIGHUP and applies what can change live.
pub(crate) struct Reload {
    cli: Cli,
    /// What the program was started with and cannot change.
    fixed: Vec<(&'static str, String)>,
    policy: Option<String>,
    relay: Option<(RelayServerConfig, RelaySettings)>,
    relay_tokens: BTreeMap<PeerIdentity, RelayToken>,
    printer: Printer,
    hangups: Signal,
}

impl Reload {
    /// `running` are the settings in effect. From here on SIGHUP does not end the
    /// program, so this comes before anybody can know that it runs.
    pub(crate) fn new(cli: Cli, running: &Settings, printer: Printer) -> Result<Self> {
        let hangups = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
        let relay_tokens = running.network_config.relay_tokens.clone();
        Ok(Self { cli, fixed: running.fixed(), policy: running.policy(), relay: running.relay(), relay_tokens, printer, hangups })
    }

    /// Runs until it is dropped.
    pub(crate) async fn at_hangup(mut self, live: Live) {
        while self.hangups.recv().await.is_some() {
            match resolve(&self.cli, |name| std::env::var(name).ok()) {
                Ok(new) => self.apply(&new, &live).await,
                Err(error) => self.printer.own_warning(&format!("the settings are not changed: {error:#}")),
            }
        }
    }

    async fn apply(&mut self, new: &Settings, live: &Live) {
        let changed = self.fixed.iter().zip(new.fixed()).filter(|(old, new)| **old != *new);
        let fixed: Vec<&str> = changed.map(|(old, _)| old.0).collect();
        if !fixed.is_empty() {
            let names = fixed.join(", ");
            let text = format!("changed in the settings, but only a restart applies it: {names}");
            self.printer.warn(WarningCode::RestartNeeded, &text);
        }
        let applied = match live {
            Live::Relay(network, settings) => self.apply_to_relay(new, network, settings).await,
            Live::Node(node) => self.apply_to_node(new, node).await,
        };
        self.printer.own(&match applied.is_empty() {
            true => ProgramEvent::SettingsUnchanged,
            false => ProgramEvent::SettingsChanged { changes: applied },
        });
    }

    /// Gives what has changed.
    async fn apply_to_node(&mut self, new: &Settings, live: &Node) -> Vec<String> {
        // The list itself, by the same name.
        live.relays().reread();
        let mut applied = Vec::new();
        if let Some(node) = new.node.as_ref().filter(|_| self.policy != new.policy()) {
            self.policy = new.policy();
            live.set_admission(Arc::new(node.inbound.clone()));
            live.set_policy(node.policy.clone().build()).await;
            applied.push(format!("the policy is {} now", node.policy.name));
        }
        let tokens = &new.network_config.relay_tokens;
        if self.relay_tokens != *tokens {
            self.relay_tokens = tokens.clone();
            live.network().set_relay_tokens(tokens.clone()).await;
            applied.push(format!("there are tokens for {} relays now", tokens.len()));
        }
        applied
    }

    async fn apply_to_relay(
        &mut self,
        new: &Settings,
        network: &Network,
        settings: &watch::Sender<RelaySettings>,
    ) -> Vec<String> {
        let (Some(old), Some(new)) = (&self.relay, new.relay()) else { return Vec::new() };
        let changes = relay::changes(old, &new);
        if !changes.is_empty() {
            if let Err(error) = network.set_relay_server(new.0.clone()).await {
                self.printer.warning(&format!("the relay's settings are not changed: {error}"));
                return Vec::new();
            }
            settings.send_replace(new.1.clone());
            self.relay = Some(new);
        }
        changes
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
            ("listen", text(&(&config.listen, config.listen_everywhere))),
            ("external-address", text(&config.external)),
            ("no-lan", text(&!config.lan)),
            ("relay", text(&(&config.relays, &self.listed_at))),
            ("relay-list or relay-pool", text(&node.map(|node| (&node.relay_list, node.pool)))),
            ("reachability", text(&(&config.reach, node.map(|_| (config.serve, config.relay_server.is_some()))))),
            ("connections", self.asked_limits.section.clone()),
            ("remote", text(&node.map(|node| (&node.remotes, &node.remote_ids)))),
            ("network", text(&node.map(|node| node.network))),
            ("kaspa-listen", text(&node.map(|node| node.kaspa_listen))),
            ("discovery", text(&node.map(|node| &node.discovery))),
            ("port-mapping", text(&node.map(|node| &node.port_mapping))),
            ("kaspad", text(&gateway.map(|gateway| gateway.kaspad))),
            ("kaspad-rpc", text(&gateway.map(|gateway| &gateway.rpc))),
            ("accept-kaspad-transport", text(&gateway.map(|_| &config.protocols))),
            ("inbound.newcomers", text(&gateway.map(|gateway| gateway.newcomers))),
        ]
    }

    /// What a relay gives, all of which can change.
    fn relay(&self) -> Option<(RelayServerConfig, RelaySettings)> {
        self.network_config.relay_server.clone().zip(self.relay.clone())
    }

    /// The policy with all its times, and the inbound limits.
    fn policy(&self) -> Option<String> {
        self.node.as_ref().map(|node| format!("{:?} {:?}", node.policy, node.inbound))
    }
}
