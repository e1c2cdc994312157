//! Our relay, and peers that speak circuit relay v2 with it byte by byte.

mod bounds;
mod circuits;
mod requests;
mod stranger;
#[path = "../support/mod.rs"]
mod support;
