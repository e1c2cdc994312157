//! The socket's file.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Type};
use thiserror::Error;
use tokio::net::UnixListener;

/// Only the owner and the group may ask.
const MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// A running program listens there.
    #[error("a running program has the control socket {0}: stop that one, or give this one another path with --control-socket")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} is not a socket, so no control socket is made there: move it away, or give another path with --control-socket")]
    NotASocket(PathBuf),
    /// The system failed.
    #[error("no control socket at {path}: {cause}; another path can be given with --control-socket, or \"off\"")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A control socket that listens. Dropping it removes its file.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    _file: SocketFile,
}

/// The file, removed on drop if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Listens at `path`, with mode 0660 and, if given, this group. The file of a
    /// program that has died is replaced. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If somebody else listens there, something else is there, or the system fails.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        remove_stale(path)?;
        let failed = |cause| SocketError::Io { path: path.into(), cause };
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        socket.bind(&address(path).map_err(failed)?).map_err(failed)?;
        let file = SocketFile { path: path.into(), inode: inode(path).map_err(failed)? };
        // Nobody can connect before it listens, so the permissions come first.
        chown(path, None, group).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
        socket.listen(BACKLOG).and_then(|()| socket.set_nonblocking(true)).map_err(failed)?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { listener, _file: file })
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn address(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(cause.kind(), "the path is longer than the system allows, 107 bytes"),
        _ => cause,
    })
}

/// Removes the socket of a program that has died.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |cause| SocketError::Io { path: path.into(), cause };
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        return Err(SocketError::NotASocket(path.into()));
    }
    match connect(path).map_err(|error| (error.kind(), error)) {
        // One that would block has a full backlog.
        Ok(_) | Err((io::ErrorKind::WouldBlock, _)) => Err(SocketError::InUse(path.into())),
        Err((io::ErrorKind::ConnectionRefused, _)) => fs::remove_file(path).map_err(failed),
        Err((io::ErrorKind::NotFound, _)) => Ok(()),
        Err((_, cause)) => Err(failed(cause)),
    }
}

/// Connects without waiting: a running program accepts a connection at once.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn it_has_its_mode_whatever_the_umask_and_is_removed_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let group = fs::metadata(dir.path()).unwrap().gid();
        let socket = Socket::bind(&path, Some(group)).unwrap();
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o660, group));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_one_is_refused_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let live = Socket::bind(&path, None).unwrap();
        let error = Socket::bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("node.sock") && error.contains("--control-socket"), "{error}");
        assert!(path.exists(), "the one that lives keeps its file");
        drop(live);
        // The standard library's listener leaves its file, as a killed program does.
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        let _replaced = Socket::bind(&path, None).unwrap();
        assert!(connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_busy_one_is_live() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let _live = Socket::bind(&path, None).unwrap();
        let waiting: Vec<_> = std::iter::repeat_with(|| connect(&path)).take(100).collect();
        assert!(waiting.iter().any(Result::is_err), "its backlog is full");
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InUse(_))));
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_stays_and_one_that_replaced_the_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        let socket = Socket::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_named_with_the_cure() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = Socket::bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("107 bytes") && error.contains("--control-socket"), "{error}");
    }
}
