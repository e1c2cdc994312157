//! Where a program's files are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file::ConfigFile;
use crate::cli::{FolderArgs, Role};

/// The files of a folder's identities, of one role or of both; or the one file that is
/// named, whosever it is. `lookup` reads an environment variable.
pub(super) fn identities(
    args: &FolderArgs,
    file: &ConfigFile,
    lookup: &impl Fn(&str) -> Option<String>,
    role: Option<Role>,
) -> Result<Vec<(Option<Role>, PathBuf)>> {
    if let Some(path) = args.identity.as_ref().or(file.identity.as_ref()) {
        return Ok(vec![(None, expand(path, lookup)?)]);
    }
    let dir = match args.appdir.as_ref().or(file.appdir.as_ref()) {
        Some(dir) => expand(dir, lookup)?,
        None => home(lookup).context("HOME is not set; give --appdir")?.join(".kaspath"),
    };
    let roles = [Role::Relay, Role::Node].into_iter().filter(|of| role.is_none_or(|role| role == *of));
    Ok(roles.map(|role| (Some(role), dir.join(format!("{role}.key")))).collect())
}

fn home(lookup: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    lookup("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// No shell has replaced the `~` of a file, or of `--appdir=~/x`.
pub(super) fn expand(path: &Path, lookup: &impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let mut parts = path.components();
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    if first == "~" {
        let home = home(lookup).with_context(|| format!("HOME is not set, so {} is nowhere", path.display()))?;
        return Ok(home.join(parts.as_path()));
    }
    if first.starts_with('~') {
        bail!("{}: only ~/ means a home folder here; write the path out, or ./{first} if it is a name", path.display());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder_and_never_a_folder_of_that_name() {
        let expand = |path: &str, home: Option<&str>| expand(Path::new(path), &|_| home.map(str::to_owned));
        assert_eq!(expand("~/kp", Some("/home/u")).unwrap(), PathBuf::from("/home/u/kp"));
        assert_eq!(expand("~", Some("/home/u")).unwrap(), PathBuf::from("/home/u"));
        assert_eq!(expand("./~x/kp", None).unwrap(), PathBuf::from("./~x/kp"));
        assert!(expand("~/kp", None).unwrap_err().to_string().contains("HOME"));
        assert!(expand("~other/kp", Some("/home/u")).unwrap_err().to_string().contains("write the path out"));
    }
}
