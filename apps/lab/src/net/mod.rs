//! The lab's network: namespaces, NATs and wires.

mod dns;
mod enter;
mod faults;
mod meter;
mod miniupnpd;
mod nat;
mod parts;
pub(crate) mod sandbox;
mod shell;
mod tap;
mod topology;
mod wire;
mod world;

pub(crate) use dns::Dns;
pub(crate) use enter::{in_namespace, inside};
pub(crate) use faults::Cut;
pub(crate) use meter::Received;
pub(crate) use miniupnpd::{Miniupnpd, need_miniupnpd};
pub(crate) use nat::NatKind;
pub(crate) use parts::Host;
pub(crate) use topology::{Lab, RELAY_IP, Site, SiteSpec, WanRange};
pub(crate) use wire::WireSpec;
pub(crate) use world::{Home, World};
