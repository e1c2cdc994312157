//! The lab's network: namespaces, NATs and wires.

mod enter;
mod faults;
mod meter;
mod nat;
pub(crate) mod sandbox;
mod shell;
mod tap;
mod topology;
mod wire;

pub(crate) use enter::in_namespace;
pub(crate) use faults::Cut;
pub(crate) use meter::Received;
pub(crate) use nat::NatKind;
pub(crate) use topology::{Host, Lab, RELAY_IP, SiteSpec};
pub(crate) use wire::WireSpec;
