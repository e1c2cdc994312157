//! How a program finds peers by the settings, and what it says if it finds none.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use kaspath_domain::{DiscoveryEvent, Namespace, Observers};
use kaspath_node::{DiscoverConfig, Discovering, Node, ReachPeer, Search};
use tokio::time::sleep;

use crate::{
    output::{Printer, ProgramEvent},
    settings::NodeSettings,
    tasks::Tasks,
};

/// Others need some time to be listed, and relays are asked every few seconds at first.
const USUAL: Duration = Duration::from_secs(60);

/// Whom a program looks for: who speaks Kaspa itself has no kaspad behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Light,
    Gateway,
}

/// What a program looks for, and what looks for it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Looking {
    pub(crate) found: Discovering,
    wanted: Wanted,
}

/// Whom to find, by the settings.
#[derive(Clone, Debug)]
struct Wanted {
    kind: Kind,
    network: String,
    outbound: usize,
    has_relays: bool,
}

impl Looking {
    /// What looks for peers of that kind, and reaches them by `reach`. It does nothing before it runs.
    pub(crate) fn new(
        kind: Kind,
        node: &Node,
        reach: Arc<dyn ReachPeer>,
        settings: &NodeSettings,
        observers: Observers<DiscoveryEvent>,
        printer: Printer,
    ) -> Result<Self> {
        let network = settings.network.to_string();
        let namespace = match kind {
            Kind::Gateway => Namespace::of_network(&network)?,
            Kind::Light => format!("/kaspath/1/light/{network}").parse()?,
        };
        let group = settings.discovery.group.clone();
        let namespace = group.as_ref().map_or(Ok(namespace.clone()), |group| group.namespace(&namespace))?;
        let configured = settings.remotes.iter().filter_map(|remote| remote.peer.clone());
        let configured = configured.chain(settings.remote_ids.iter().cloned()).collect();
        observers.add(printer.of_discovery());
        let discovery = &settings.discovery;
        // A node that is given no relay reserves nowhere.
        let has_relays = settings.pool.reservations > 0;
        let wanted = Wanted { kind, network: network.clone(), outbound: discovery.outbound, has_relays };
        let config = DiscoverConfig {
            network,
            namespace,
            group,
            outbound: discovery.outbound,
            is_listed: !discovery.unlisted,
            shows_addresses: discovery.candidates,
            configured,
            relays: Arc::new(node.relays().clone()),
            observers,
        };
        let discovery = node.network().discovery();
        let found = node.discover(discovery.clone(), reach, config);
        discovery.set_known(found.known_records());
        Ok(Self { found, wanted })
    }

    /// Looks for peers from now on, and says once if none is found in a usual time.
    pub(crate) fn run(&self, tasks: &mut Tasks, printer: Printer) {
        let (running, own) = (self.found.clone(), self.clone());
        tasks.endless("looking for peers", async move { running.run().await });
        tasks.endless("saying that nobody is found", async move {
            sleep(USUAL).await;
            if own.wanted.off().is_none()
                && let Some(text) = own.lack(&own.found.search())
            {
                printer.own(&ProgramEvent::Note { text });
            }
            std::future::pending::<()>().await;
        });
    }

    /// Why there is no session with a peer that was found; `None` if there is one.
    pub(crate) fn lack(&self, search: &Search) -> Option<String> {
        self.wanted.lack(search)
    }
}

impl Wanted {
    /// Why no peers are looked for, if they are not.
    fn off(&self) -> Option<String> {
        match self {
            Self { outbound: 0, .. } => Some("no peers are looked for: --discover (`outbound` in the file) is 0".to_owned()),
            Self { has_relays: false, .. } => {
                Some("no peers are looked for: neither --relay nor --relay-list is given".to_owned())
            }
            _ => None,
        }
    }

    fn lack(&self, search: &Search) -> Option<String> {
        if search.reached > 0 {
            return None;
        }
        self.off().or_else(|| Some(self.nobody(search)))
    }

    fn nobody(&self, search: &Search) -> String {
        let who = match self.kind {
            Kind::Light => "server or client",
            Kind::Gateway => "gateway",
        };
        let network = &self.network;
        let asked = search.asked();
        if search.known == 0 {
            return format!("no other {who} of {network} is found: no relay is known yet, for the relay list has named none");
        }
        if asked == 0 {
            return format!("no other {who} of {network} is found yet: none of {} relays has answered", search.known);
        }
        if search.told > 0 {
            return format!(
                "{} of {asked} relays tell of a {who} of {network}, but there is no session with one yet",
                search.told
            );
        }
        let answers = [
            ("know nobody", search.nobody),
            ("do not speak discovery", search.not_spoken),
            ("refuse", search.refused),
            ("cannot be reached", search.unreachable),
        ];
        let answers: Vec<String> =
            answers.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what}: {count}")).collect();
        format!(
            "no other {who} of {network} is found. Relays asked: {asked} ({}). Give another --relay or --relay-list, or wait until \
             others come",
            answers.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(wanted: &Wanted, search: Search) -> String {
        wanted.lack(&search).unwrap()
    }

    #[test]
    fn it_is_said_why_nobody_is_found() {
        let wanted = Wanted { kind: Kind::Gateway, network: "mainnet".to_owned(), outbound: 4, has_relays: true };
        let search = Search { known: 4, nobody: 1, not_spoken: 2, refused: 1, ..Search::default() };
        assert_eq!(
            lack(&wanted, search),
            "no other gateway of mainnet is found. Relays asked: 4 (know nobody: 1; do not speak discovery: 2; refuse: 1). Give \
             another --relay or --relay-list, or wait until others come"
        );
        assert!(lack(&wanted, Search { unreachable: 1, known: 1, ..Search::default() }).contains("(cannot be reached: 1)"));
        assert!(lack(&wanted, Search { told: 1, ..search }).starts_with("1 of 5 relays tell of a gateway"));
        assert!(lack(&wanted, Search { known: 2, ..Search::default() }).contains("none of 2 relays has answered"));
        assert!(lack(&wanted, Search::default()).contains("relay list has named none"));
        assert_eq!(wanted.lack(&Search { reached: 1, ..search }), None);
        assert!(lack(&Wanted { outbound: 0, ..wanted.clone() }, search).contains("--discover"));
        let light = Wanted { kind: Kind::Light, has_relays: false, ..wanted };
        assert!(lack(&light, search).contains("neither --relay nor --relay-list"));
    }
}
