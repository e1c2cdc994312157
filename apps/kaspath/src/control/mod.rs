//! The control socket of this program, and the commands that ask there.
//!
//! | file | what it knows |
//! |---|---|
//! | `board` | what events have told: pure |
//! | `running` | what the parts of a running program say when they are asked |
//! | `book` | requests to the peer book, of a program that runs or none |
//! | `peers` | `kaspath peers` |
//! | `status` | `kaspath status` |

mod board;
mod book;
mod peers;
mod running;
mod status;

use std::sync::Arc;

use anyhow::{Context, Result};
use kaspath_control::{Socket, SocketError};
use nix::unistd::Group;

use crate::{
    output::Printer,
    settings::{ControlSettings, Settings},
    tasks::Tasks,
};
pub(crate) use board::Board;
pub(crate) use peers::run as peers;
pub(crate) use running::Running;
pub(crate) use status::run as status;

/// The control socket, if there is one, and what events tell from the start on.
pub(crate) struct Control {
    socket: Option<Socket>,
    board: Board,
}

impl Control {
    /// Listens, before anything else of the program can be seen: who connects waits
    /// for [`Control::start`]. Where the default socket cannot be made, as on a
    /// read-only folder, the program runs without one.
    ///
    /// # Errors
    /// If another program has the socket, or one that was asked for cannot be made.
    pub(crate) fn bind(settings: &Settings, printer: &Printer) -> Result<Self> {
        let ControlSettings { path, group, named } = &settings.control;
        let bind = || -> Result<Option<Socket>> {
            let Some(path) = path else { return Ok(None) };
            Ok(Some(Socket::bind(path, group.as_deref().map(group_id).transpose()?)?))
        };
        let socket = match bind() {
            Err(error) if !named && !matches!(error.downcast_ref(), Some(SocketError::InUse(_))) => {
                printer.warning(&format!("{error:#}"));
                None
            }
            bound => bound?,
        };
        Ok(Self { socket, board: Board::new(&settings.network_config) })
    }

    /// Where events are followed.
    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Answers from now on, as long as the tasks run.
    pub(crate) fn start(self, tasks: &mut Tasks, running: Running) {
        let Some(socket) = self.socket else { return };
        let board = self.board;
        tasks.endless("the control socket", socket.serve(Arc::new(move |request| running.answer(&board, request))));
    }
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = Group::from_name(name).with_context(|| format!("the group {name} of --control-group cannot be looked up"))?;
    let group =
        found.with_context(|| format!("there is no group {name}: give --control-group one of /etc/group, or a number"))?;
    Ok(group.gid.as_raw())
}
