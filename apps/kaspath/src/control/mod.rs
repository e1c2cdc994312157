//! The control socket and the status page of this program, and the commands that ask there.
//!
//! | file | what it does |
//! |---|---|
//! | `activity` | what is kept of events: pure |
//! | `running` | what the parts of a running program answer |
//! | `book` | requests to the peer book, whether a program runs or not |
//! | `peers` | `kaspath peers` |
//! | `status` | `kaspath status` |
//! | `web` | what the status page is given |

mod activity;
mod book;
mod peers;
mod running;
mod status;
mod web;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kaspath_control::{Socket, SocketError};
use kaspath_domain::{DiscoveryEvent, Observers};
use kaspath_metrics::Metrics;
use kaspath_web::{Token, Web};
use nix::unistd::Group;
use tokio::time::interval;

use crate::{
    metrics,
    output::{Printer, ProgramEvent},
    settings::{ControlSettings, Settings},
    tasks::Tasks,
};
pub(crate) use activity::Activity;
pub(crate) use peers::run as peers;
pub(crate) use running::Running;
pub(crate) use status::run as status;

/// How often the bytes of sessions are read.
const SAMPLED: Duration = Duration::from_secs(1);

/// The control socket and the status page, as far as there are any, and what is kept of
/// events from the start on.
pub(crate) struct Control {
    socket: Option<Socket>,
    web: Option<Web>,
    /// The kaspad behind the gateway.
    kaspad: Option<SocketAddr>,
    printer: Printer,
    redact: bool,
    activity: Activity,
    metrics: Metrics,
}

impl Control {
    /// Listens, before anything else of the program can be seen: connections wait
    /// for [`Control::start`]. Where the default socket cannot be made, as on a
    /// read-only folder, the program runs without one.
    ///
    /// # Errors
    /// If another program has the socket, or one that was asked for cannot be made; the same
    /// for the status page.
    pub(crate) fn bind(settings: &Settings, printer: &Printer) -> Result<Self> {
        let ControlSettings { path, group, named } = &settings.control;
        let bind = |path| anyhow::Ok(Socket::bind(path, group.as_deref().map(group_id).transpose()?)?);
        let socket = match path.as_deref().map(bind).transpose() {
            Err(error) if !named && !matches!(error.downcast_ref(), Some(SocketError::InUse(_))) => {
                printer.warning(&format!("{error:#}"));
                None
            }
            bound => bound?,
        };
        let web = settings.web.as_ref().map(|web| {
            let token = web.token_file.as_deref().map(Token::read).transpose()?;
            anyhow::Ok(Web::bind(web.listen, token)?)
        });
        Ok(Self {
            socket,
            web: web.transpose()?,
            kaspad: settings.gateway.as_ref().map(|gateway| gateway.kaspad),
            printer: *printer,
            redact: settings.output.redact,
            activity: Activity::new(&settings.network_config),
            metrics: metrics::of(settings),
        })
    }

    /// Where events are recorded.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Where events are counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where what comes of looking for peers is recorded and counted.
    pub(crate) fn of_discovery(&self) -> Observers<DiscoveryEvent> {
        let observers = Observers::of(self.activity.of_discovery());
        observers.add(self.metrics.discovery_observer());
        observers
    }

    /// Answers from now on, as long as the tasks run.
    pub(crate) fn start(self, tasks: &mut Tasks, running: Running) {
        let Self { socket, web, kaspad, printer, redact, activity, metrics } = self;
        let running = Arc::new(running);
        if let Some(web) = web {
            let address = web.address();
            printer.own(&ProgramEvent::WebListening { address });
            tasks.endless("the status page", web.serve(web::content(&running, &activity, metrics, kaspad, redact)));
        }
        let (sampled, samples) = (running.clone(), activity.clone());
        tasks.endless("sampling traffic", async move {
            let mut every = interval(SAMPLED);
            loop {
                every.tick().await;
                samples.sample(sampled.moved());
            }
        });
        if let Some(socket) = socket {
            tasks.endless("the control socket", socket.serve(move |request| running.answer(&activity, request)));
        }
    }
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = Group::from_name(name).with_context(|| format!("the group {name} of --control-group cannot be looked up"))?;
    let cure = || format!("there is no group {name}: give --control-group one of /etc/group, or a number");
    Ok(found.with_context(cure)?.gid.as_raw())
}
