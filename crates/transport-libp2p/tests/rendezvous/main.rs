//! Discovery: at relays of ours, between peers, against stock software and against strangers.

mod abuse;
mod gossip;
mod listing;
mod own;
mod raw;
mod stock;
#[path = "../support/mod.rs"]
mod support;
