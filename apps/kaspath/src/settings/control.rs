//! Where a running program is asked.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{
    file::ConfigFile,
    paths::{expand, identities},
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
    // Commands that only ask make no socket.
    let flag = command.common().map(|common| common.control_group.as_ref());
    let group = flag.and_then(|flag| flag.or(file.control_group.as_ref())).cloned();
    let given = given(args, file, lookup)?;
    let named = given.is_some() || group.is_some();
    let path = given.unwrap_or_else(|| Some(beside(identity)));
    if path.is_none() && flag.flatten().is_some() {
        bail!("--control-group is for a control socket, which is off: leave one of both out");
    }
    Ok(ControlSettings { path, named, group })
}

/// The sockets at which `kaspath status` asks.
pub(crate) fn sockets(args: &StatusArgs, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<PathBuf>> {
    let file = ConfigFile::read_if_any(args.folder.config.as_deref())?;
    match given(&args.control, &file, &lookup)? {
        Some(None) => bail!("the control socket is \"off\": no program can be asked"),
        Some(Some(path)) => Ok(vec![path]),
        None => {
            Ok(identities(&args.folder, &file, &lookup, args.of.role())?.iter().map(|(_, identity)| beside(identity)).collect())
        }
    }
}

/// The socket that flag or file names; `Some(None)` if it is off.
fn given(args: &ControlArgs, file: &ConfigFile, lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Option<PathBuf>>> {
    match args.control_socket.as_deref().or(file.control_socket.as_deref()) {
        Some(path) if path == Path::new("off") => Ok(Some(None)),
        path => path.map(|path| expand(path, lookup).map(Some)).transpose(),
    }
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
