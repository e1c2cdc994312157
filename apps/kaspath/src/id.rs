//! `kaspath id`.

use std::path::Path;

use anyhow::Result;
use kaspath_transport_libp2p::NodeKey;

use crate::{
    cli::{IdArgs, Role},
    output,
    settings::IdentityFiles,
};

/// Prints the peer id alone on standard output, and whose and where it is on
/// standard error. Without a flag that says which, it is those that exist.
pub(crate) fn run(args: &IdArgs, files: &IdentityFiles) -> Result<()> {
    let mut found: Vec<(&str, &Path)> = match (files, args.role()) {
        (IdentityFiles::Given(path), _) => vec![("", path)],
        (IdentityFiles::Folder { relay, .. }, Some(Role::Relay)) => vec![("relay", relay)],
        (IdentityFiles::Folder { node, .. }, Some(Role::Node)) => vec![("node", node)],
        (IdentityFiles::Folder { relay, node }, None) => [("relay", relay), ("node", node)]
            .into_iter()
            .filter(|(_, path)| path.symlink_metadata().is_ok())
            .map(|(role, path)| (role, path.as_path()))
            .collect(),
    };
    if let (true, IdentityFiles::Folder { node, .. }) = (found.is_empty(), files) {
        found.push(("node", node));
    }
    let one = found.len() == 1;
    for (role, path) in found {
        let is_new = path.symlink_metadata().is_err();
        let id = NodeKey::load_or_create(path)?.identity();
        let path = path.display();
        if one {
            let made = if is_new { "made a new identity" } else { "the identity" };
            let of = if role.is_empty() { String::new() } else { format!(" of a {role}") };
            output::remark(&format!("{made}{of}, in {path}"));
            output::answer(&format!("{id}\n"), false)?;
        } else {
            output::answer(&format!("{id}  {role}  {path}\n"), false)?;
        }
    }
    Ok(())
}
