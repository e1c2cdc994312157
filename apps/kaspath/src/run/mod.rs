//! `kaspath run`: a gateway and its kaspad in one program.
//!
//! | file | what it does |
//! |---|---|
//! | `flags` | what kaspad's own flags, environment and file say |
//! | `plan` | which flags it gets beside them |
//! | `program` | which file kaspad is |
//! | `supervise` | its start, its end, its restarts |
//! | `exec` | makes sure that it does not outlive this program |

mod exec;
mod flags;
mod plan;
mod program;
mod supervise;

pub(crate) use exec::exec;
pub(crate) use flags::KaspadFlags;
pub(crate) use plan::{KaspadPlan, is_usable};
pub(crate) use program::locate;
pub(crate) use supervise::Supervisor;
