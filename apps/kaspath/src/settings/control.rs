//! Where a running program is asked.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{
    file::ConfigFile,
    paths::{IdentityFiles, expand, home},
};
use crate::cli::{Command, ControlArgs, StatusArgs};

/// The control socket of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlSettings {
    /// Where it is; `None` for none.
    pub(crate) path: Option<PathBuf>,
    /// Who may ask beside the owner, by name or number.
    pub(crate) group: Option<String>,
    /// Whether the settings ask for it, or it is the default.
    pub(crate) named: bool,
}

pub(super) fn resolve(
    command: &Command,
    file: &ConfigFile,
    identity: &Path,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<ControlSettings> {
    let Some(args) = command.control() else { return Ok(ControlSettings::default()) };
    // Who only asks makes no socket.
    let flag = command.common().map(|common| common.control_group.clone());
    let group = flag.as_ref().and_then(|flag| flag.clone().or_else(|| file.control_group.clone()));
    let given = given(args, file);
    let path = match given {
        Some(path) if path == Path::new("off") => None,
        Some(path) => Some(expand(path, home(lookup))?),
        None => Some(beside(identity)),
    };
    if path.is_none() && flag.flatten().is_some() {
        bail!("--control-group is for a control socket, which is off: leave one of both out");
    }
    Ok(ControlSettings { path, named: given.is_some() || group.is_some(), group })
}

/// The sockets at which `kaspath status` asks.
pub(crate) fn sockets(args: &StatusArgs, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<PathBuf>> {
    let file = ConfigFile::read_if_any(args.folder.config.as_deref())?;
    match given(&args.control, &file) {
        Some(path) if path == Path::new("off") => bail!("the control socket is \"off\": there is nobody to ask"),
        Some(path) => return Ok(vec![expand(path, home(&lookup))?]),
        None => {}
    }
    let identities = match IdentityFiles::find(&args.folder, &file, &lookup)? {
        IdentityFiles::Given(path) => vec![path],
        IdentityFiles::Folder { relay, .. } if args.relay => vec![relay],
        IdentityFiles::Folder { node, .. } if args.node => vec![node],
        IdentityFiles::Folder { relay, node } => vec![relay, node],
    };
    Ok(identities.iter().map(|identity| beside(identity)).collect())
}

fn given<'a>(args: &'a ControlArgs, file: &'a ConfigFile) -> Option<&'a Path> {
    args.control_socket.as_deref().or(file.control_socket.as_deref())
}

fn beside(identity: &Path) -> PathBuf {
    identity.with_extension("sock")
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;

    #[test]
    fn it_is_beside_the_identity_unless_it_is_named_or_off() {
        let path = |args: &[&str]| settings(args, &[]).unwrap().control.path.map(|path| path.display().to_string());
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(path(&["server"]), at("/home/u/.kaspath/node.sock"));
        assert_eq!(path(&["relay", "--appdir", "/x"]), at("/x/relay.sock"));
        assert_eq!(path(&["peers", "--identity", "/x/my.key", "list"]), at("/x/my.sock"));
        assert_eq!(path(&["server", "--control-socket", "~/c.sock"]), at("/home/u/c.sock"));
        assert_eq!(path(&["server", "--control-socket", "off"]), None);
        assert!(settings(&["server", "--control-socket", "off", "--control-group", "x"], &[]).is_err());
        let named = |args: &[&str]| settings(args, &[]).unwrap().control.named;
        assert!(!named(&["server"]) && named(&["server", "--control-group", "x"]));
    }
}
