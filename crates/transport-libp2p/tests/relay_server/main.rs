//! Our relay, and peers that speak circuit relay v2 with it byte by byte.

mod access;
mod bounds;
mod checks;
mod circuits;
mod draining;
mod rates;
mod requests;
mod stranger;
#[path = "../support/mod.rs"]
mod support;
