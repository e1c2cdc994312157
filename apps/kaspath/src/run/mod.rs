//! `kaspath run`: a kaspad behind a gateway, under one roof.
//!
//! | file | what it knows |
//! |---|---|
//! | `flags` | what kaspad's own flags, environment and file say |
//! | `plan` | which flags it gets beside them |
//! | `program` | which file kaspad is |
//! | `supervise` | its start, its end, its restarts |
//! | `exec` | that it must not outlive this program |

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
