//! Small text files: the settings, lists that they name, and tokens that only their owner may read.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result, bail};

/// Reads a regular file; `what` it is, or the setting that names it, is for messages.
pub(super) fn read(what: &str, path: &Path, max: u64) -> Result<String> {
    let reading = || format!("cannot read the {what} {}", path.display());
    let metadata = fs::metadata(path).with_context(reading)?;
    if !metadata.is_file() {
        // A pipe would be waited for, at SIGHUP for ever.
        bail!("the {what} {} is not a regular file: copy its text into one", path.display());
    }
    if metadata.len() > max {
        bail!("the {what} {} is larger than {} KiB, and so most likely the wrong file", path.display(), max >> 10);
    }
    fs::read_to_string(path).with_context(reading)
}

/// The same for a file that others may not be able to read.
pub(super) fn read_private(key: &str, path: &Path, max: u64) -> Result<String> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read the {key} {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        bail!("the {key} {} can be read by others (mode {mode:04o}): run `chmod 600` on it", path.display());
    }
    read(key, path, max)
}
