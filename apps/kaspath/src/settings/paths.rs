//! Where a program's files are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file::ConfigFile;
use crate::cli::{FolderArgs, Role};

/// The identities that a folder may hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IdentityFiles {
    /// One file, named by flag or file.
    Given(PathBuf),
    /// A folder's.
    Folder {
        /// A relay's.
        relay: PathBuf,
        /// A node's.
        node: PathBuf,
    },
}

impl IdentityFiles {
    /// Finds them. `lookup` reads an environment variable.
    pub(super) fn find(args: &FolderArgs, file: &ConfigFile, lookup: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let home = || home(lookup);
        if let Some(path) = args.identity.as_ref().or(file.identity.as_ref()) {
            return Ok(Self::Given(expand(path, home())?));
        }
        let dir = match args.appdir.as_ref().or(file.appdir.as_ref()) {
            Some(dir) => expand(dir, home())?,
            None => home().context("HOME is not set; give --appdir")?.join(".kaspath"),
        };
        Ok(Self::Folder { relay: dir.join("relay.key"), node: dir.join("node.key") })
    }

    pub(super) fn of(self, role: Role) -> PathBuf {
        match (self, role) {
            (Self::Given(path), _) => path,
            (Self::Folder { relay, .. }, Role::Relay) => relay,
            (Self::Folder { node, .. }, Role::Node) => node,
        }
    }
}

pub(super) fn home(lookup: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    lookup("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// No shell has replaced the `~` of a file, or of `--appdir=~/x`.
pub(super) fn expand(path: &Path, home: Option<PathBuf>) -> Result<PathBuf> {
    let mut parts = path.components();
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    if first == "~" {
        let home = home.with_context(|| format!("HOME is not set, so {} is nowhere", path.display()))?;
        return Ok(home.join(parts.as_path()));
    }
    if first.starts_with('~') {
        bail!("{}: only ~/ stands for a home folder here; write the path out, or ./{first} if it is a name", path.display());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder_and_never_a_folder_of_that_name() {
        let expand = |path: &str, home: Option<&str>| expand(Path::new(path), home.map(PathBuf::from));
        assert_eq!(expand("~/kp", Some("/home/u")).unwrap(), PathBuf::from("/home/u/kp"));
        assert_eq!(expand("~", Some("/home/u")).unwrap(), PathBuf::from("/home/u"));
        assert_eq!(expand("./~x/kp", None).unwrap(), PathBuf::from("./~x/kp"));
        assert!(expand("~/kp", None).unwrap_err().to_string().contains("HOME"));
        assert!(expand("~other/kp", Some("/home/u")).unwrap_err().to_string().contains("write the path out"));
    }
}
