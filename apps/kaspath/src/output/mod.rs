//! What is printed: events on standard output, logs on standard error.
//!
//! | file | what it does |
//! |---|---|
//! | `settings` | how to print |
//! | `console` | the process's two streams and the one limit over all lines |
//! | `limit` | how many lines and bytes of which class are printed: pure |
//! | `pipe` | a stream that never makes its writer wait |
//! | `line`, `stamp` | an event as a line, and how a text line begins |
//! | `safe` | makes a text safe to print |
//! | `reach` | which of our addresses others can reach |
//! | `redact` | hiding addresses |
//! | `own` | the program's own events |
//! | `text`, `gateway`, `pool` | events of the network, of sessions, of the gateway and of the relay pool as sentences |
//! | `printer` | prints events |
//! | `ready` | whether the program is ready, and what is missing |
//! | `ending` | how the program ends; answers of commands |
//! | `logs` | logs of ours and of dependencies |
//! | `child` | lines of a kaspad that we run |

mod child;
mod console;
mod discovery;
mod ending;
mod gateway;
mod limit;
mod line;
mod logs;
mod mapping;
mod own;
mod pipe;
mod pool;
mod printer;
mod reach;
mod ready;
mod redact;
mod safe;
mod settings;
mod stamp;
mod text;

#[cfg(test)]
mod documented;

pub(crate) use ending::{answer, failed, flush, internal_error, refused, remark, stopped, stopping};
pub(crate) use logs::start_logs;
pub(crate) use own::{ProgramEvent, WarningCode};
pub(crate) use printer::Printer;
pub(crate) use ready::Readiness;
pub(crate) use redact::{hide_names, redact};
pub(crate) use settings::OutputSettings;
