//! A program with a policy of its own reaches a stock server.

use anyhow::{Result, bail};
use serde_json::json;

use super::cast::{Cast, SESSION, is_direct, sites, started, strings};
use crate::{
    cli::OwnPolicyArgs,
    net::{NatKind, WireSpec},
    process::Program,
};

pub(crate) async fn own_policy(args: &OwnPolicyArgs) -> Result<()> {
    if !args.program.exists() {
        bail!("there is no {}: build it with `cargo build --release -p kaspath --example own_policy`", args.program.display());
    }
    let nat = NatKind::PortRestricted;
    let mut cast =
        Cast::start(&args.common, "own-policy", sites(nat, nat, WireSpec::from_args(&args.common)), "tcp-only").await?;
    cast.reserved().await?;
    let client_args = strings(&["client", cast.server_address()]);
    let mut client = Program::start("own policy", &cast.lab.sites[0].host, &args.program.canonicalize()?, &client_args)?;
    let id = started(&mut client).await?;
    cast.evidence.name(&id, "<client>");
    let ready = client.wait_event("peer-ready", SESSION).await?;
    println!("the example's policy reached {}: {}", ready["user_agent"], ready["path"]);
    if !is_direct(&ready, "tcp") {
        bail!("two port-restricted NATs are punched over TCP within its five seconds: {ready}");
    }
    cast.evidence.events("own-policy", &client.stop().await?)?;
    let dir = cast.finish(json!({ "path": ready["path"] })).await?;
    println!("evidence: {}", dir.display());
    println!("1 passed, 0 failed");
    Ok(())
}
