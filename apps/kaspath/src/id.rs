//! `kaspath id`.

use std::path::PathBuf;

use anyhow::Result;
use kaspath_transport_libp2p::NodeKey;

use crate::{cli::Role, output};

/// Prints only the peer id on standard output, and whose and where it is on standard
/// error. Of several identities it is those that exist, or else a new one of a node.
pub(crate) fn run(mut files: Vec<(Option<Role>, PathBuf)>) -> Result<()> {
    let exists = |(_, path): &(_, PathBuf)| path.symlink_metadata().is_ok();
    if files.len() > 1 {
        let is_any = files.iter().any(exists);
        files.retain(|file| if is_any { exists(file) } else { file.0 == Some(Role::Node) });
    }
    let is_one = files.len() == 1;
    for (role, path) in files {
        let made = if path.symlink_metadata().is_ok() { "the identity" } else { "made a new identity" };
        let id = NodeKey::load_or_create(&path)?.identity();
        let (path, role) = (path.display(), role.map(|role| role.to_string()));
        if is_one {
            let of = role.map(|role| format!(" of a {role}")).unwrap_or_default();
            output::remark(&format!("{made}{of}, in {path}"));
            output::answer(&format!("{id}\n"), false)?;
        } else {
            output::answer(&format!("{id}  {}  {path}\n", role.unwrap_or_default()), false)?;
        }
    }
    Ok(())
}
