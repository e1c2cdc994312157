//! The control socket of this program, and the commands that ask there.
//!
//! | file | what it does |
//! |---|---|
//! | `activity` | what is kept of events: pure |
//! | `running` | what the parts of a running program answer |
//! | `book` | requests to the peer book, whether a program runs or not |
//! | `peers` | `kaspath peers` |
//! | `status` | `kaspath status` |

mod activity;
mod book;
mod peers;
mod running;
mod status;

use anyhow::{Context, Result};
use kaspath_control::{Socket, SocketError};
use nix::unistd::Group;

use crate::{
    output::Printer,
    settings::{ControlSettings, Settings},
    tasks::Tasks,
};
pub(crate) use activity::Activity;
pub(crate) use peers::run as peers;
pub(crate) use running::Running;
pub(crate) use status::run as status;

/// The control socket, if there is one, and what is kept of events from the start on.
pub(crate) struct Control {
    socket: Option<Socket>,
    activity: Activity,
}

impl Control {
    /// Listens, before anything else of the program can be seen: connections wait
    /// for [`Control::start`]. Where the default socket cannot be made, as on a
    /// read-only folder, the program runs without one.
    ///
    /// # Errors
    /// If another program has the socket, or one that was asked for cannot be made.
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
        Ok(Self { socket, activity: Activity::new(&settings.network_config) })
    }

    /// Where events are recorded.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Answers from now on, as long as the tasks run.
    pub(crate) fn start(self, tasks: &mut Tasks, running: Running) {
        let Self { socket: Some(socket), activity } = self else { return };
        tasks.endless("the control socket", socket.serve(move |request| running.answer(&activity, request)));
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
