//! One program per identity.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Result, bail};

/// Takes the lock of this identity file, which holds as long as the file that is
/// returned. `Ok(Err(..))` says why there can be no lock, as on a read-only folder; the
/// program may run all the same.
///
/// Two programs with one identity would take each other's reservations and connections
/// away. The lock is the system's, on a file beside the identity: it ends with the
/// process, however that ends. The file stays.
pub(crate) fn take(identity: &Path) -> Result<std::result::Result<File, String>> {
    let path = identity.with_added_extension("lock");
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(format!("{}: {error}", path.display()))),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = holder(&mut file).map(|pid| format!(" (process {pid})")).unwrap_or_default();
            bail!(
                "another kaspath{holder} runs with the identity {}: stop it, or give this one another folder with --appdir",
                identity.display()
            );
        }
        Err(TryLockError::Error(error)) => return Ok(Err(format!("{}: {error}", path.display()))),
    }
    // For the message above; the lock holds without it.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Ok(file))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_program_with_one_identity_is_refused_and_named_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let [node, relay] = ["deep/node.key", "deep/relay.key"].map(|name| dir.path().join(name));
        let held = take(&node).unwrap().unwrap();
        let refused = take(&node).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())) && refused.contains("--appdir"), "{refused}");
        take(&relay).unwrap().unwrap();
        drop(held);
        take(&node).unwrap().unwrap();
    }

    #[test]
    fn where_no_lock_can_be_the_cause_is_given() {
        let cause = take(Path::new("/proc/self/node.key")).unwrap().unwrap_err();
        assert!(cause.contains("/proc/self/node.key.lock"), "{cause}");
    }
}
