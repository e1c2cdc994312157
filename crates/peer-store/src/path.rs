//! The file itself: only its owner may read it, and it is moved aside if it is not a peer book.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What every redb file begins with.
const MAGIC: &[u8] = b"redb";

/// Makes the file's folder, which only its owner can read.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    path.parent().map_or(Ok(()), |parent| builder.create(parent))
}

/// Whether there is a file that begins like no database.
pub(crate) fn holds_something_else(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(false);
    }
    let mut head = [0; 4];
    let read = fs::File::open(path)?.read(&mut head)?;
    Ok(&head[..read] != MAGIC)
}

/// Makes the file if it is not there, and takes it from the eyes of others if an
/// earlier version left it open to them: it says who this node knows.
pub(crate) fn keep_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            // Somebody else's file is for its owner to close.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        }
    }
    drop(file);
    Ok(())
}

/// Gives the file a name that no other has; which.
pub(crate) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |n: u32| path.with_extension(format!("set-aside-{n}"));
    let aside = (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0));
    fs::rename(path, &aside)?;
    Ok(aside)
}
