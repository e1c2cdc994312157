//! What is tried, and what must come of it.

mod bench;
mod cast;
mod crowd;
mod demo;
mod gateway;
mod kaspad;
mod matrix;
mod memory;
mod nodes;
mod own_policy;
mod paths;
mod pump;
mod reload;
mod restarts;
mod rpc;

pub(crate) use bench::bench;
pub(crate) use crowd::crowd;
pub(crate) use demo::demo;
pub(crate) use gateway::gateway;
pub(crate) use kaspad::kaspad;
pub(crate) use matrix::matrix;
pub(crate) use memory::{idle, memory};
pub(crate) use own_policy::own_policy;
pub(crate) use paths::paths;
pub(crate) use pump::pump;
pub(crate) use reload::reload;
pub(crate) use restarts::restarts;
pub(crate) use rpc::rpc;
