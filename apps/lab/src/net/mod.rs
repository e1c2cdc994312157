//! The lab's network: namespaces, NATs and wires.

mod nat;
pub(crate) mod sandbox;
mod shell;
mod tap;
mod topology;
mod wire;

pub(crate) use nat::NatKind;
pub(crate) use topology::{Host, Lab, RELAY_IP, SiteSpec};
pub(crate) use wire::WireSpec;
