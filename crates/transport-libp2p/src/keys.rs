//! The node's key pair and its file.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use kaspath_domain::PeerIdentity;
use libp2p::identity::Keypair;
use thiserror::Error;

use crate::convert;

/// Larger than any encoded key.
const MAX_KEY_FILE: u64 = 4096;

/// An Ed25519 key pair: who this node is.
#[derive(Clone)]
pub struct NodeKey(Keypair);

/// Why an identity file was not usable. The file is never changed or removed.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It could not be read.
    #[error("cannot read the identity file {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It could not be written.
    #[error("cannot create the identity file {path}: {cause}")]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It is a link to a file that is not there.
    #[error("the identity file {0} is a link to a file that is not there: restore that file, or remove the link")]
    Dangling(PathBuf),
    /// It is a folder, a pipe or a device.
    #[error("the identity file {0} is not a regular file: name another, or move it away")]
    NotAFile(PathBuf),
    /// Others may read it.
    #[error("the identity file {path} can be read by others (mode {mode:04o}): run `chmod 600` on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("the identity file {0} holds no key: move it away and a new identity is made, or restore it from a copy")]
    Corrupt(PathBuf),
}

impl NodeKey {
    /// A new key, kept nowhere.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The key in `path`, which is made with mode 0600 if it is not there; so is its
    /// folder, with mode 0700.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Self::create(path),
            _ => Self::load(path),
        }
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let read_error = |cause| KeyError::Read { path: path.into(), cause };
        let metadata = fs::metadata(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => KeyError::Dangling(path.into()),
            _ => read_error(cause),
        })?;
        // A pipe would be waited for.
        if !metadata.is_file() {
            return Err(KeyError::NotAFile(path.into()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.into(), mode });
            }
        }
        let corrupt = || KeyError::Corrupt(path.into());
        if metadata.len() > MAX_KEY_FILE {
            return Err(corrupt());
        }
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|file| file.take(MAX_KEY_FILE).read_to_end(&mut bytes)).map_err(read_error)?;
        Self::decode(&bytes).ok_or_else(corrupt)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Keypair::from_protobuf_encoding(bytes).map(Self).ok()
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let create_error = |cause| KeyError::Create { path: path.into(), cause };
        let key = Self::generate();
        let bytes = key.0.to_protobuf_encoding().map_err(|_| KeyError::Corrupt(path.into()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        create_private_dir(parent).map_err(create_error)?;
        // Written beside and then named, so that a crash leaves a whole file or none.
        // Whatever fails, the temporary file goes; its mode is 0600.
        let written = tempfile::NamedTempFile::new_in(parent).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            Ok(file)
        });
        match written.map_err(create_error)?.persist_noclobber(path) {
            Ok(_) => {
                fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(create_error)?;
                Ok(key)
            }
            // Another process has made it meanwhile.
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(failed) => Err(create_error(failed.error)),
        }
    }

    /// The identity that this key proves.
    pub fn identity(&self) -> PeerIdentity {
        convert::identity(&self.0.public().to_peer_id())
    }

    /// A secret of this node for one purpose: the same after a restart, and of no use to
    /// whoever looks for the key.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        self.0.derive_secret(purpose.as_bytes()).expect("an Ed25519 key has a secret part")
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

/// A key file's bytes, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_key(bytes: &[u8]) {
    if let Some(key) = NodeKey::decode(bytes) {
        let _ = key.identity();
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.identity())
    }
}

/// Makes a folder that only its owner can look into.
fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn each_purpose_has_a_secret_of_its_own_which_stays() {
        let key = NodeKey::generate();
        assert_eq!(key.secret("one"), key.clone().secret("one"));
        assert_ne!(key.secret("one"), key.secret("other"));
        assert_ne!(key.secret("one"), NodeKey::generate().secret("one"));
    }

    #[test]
    fn a_new_file_is_private_and_gives_the_same_identity_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/identity.key");
        let first = NodeKey::load_or_create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(NodeKey::load_or_create(&path).unwrap().identity(), first.identity());
    }

    #[test]
    fn a_link_to_nowhere_is_refused_and_a_link_to_a_key_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [key, link] = ["identity.key", "link.key"].map(|name| dir.path().join(name));
        symlink(&key, &link).unwrap();
        assert!(matches!(NodeKey::load_or_create(&link), Err(KeyError::Dangling(_))));
        assert!(!key.exists());
        let made = NodeKey::load_or_create(&key).unwrap();
        assert_eq!(NodeKey::load_or_create(&link).unwrap().identity(), made.identity());
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [dir.path(), &fifo] {
            assert!(matches!(NodeKey::load_or_create(path), Err(KeyError::NotAFile(_))), "{}", path.display());
        }
    }

    #[test]
    fn a_key_that_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        // The temporary file is written; its final name is too long.
        let path = dir.path().join("k".repeat(300));
        assert!(matches!(NodeKey::create(&path), Err(KeyError::Create { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_that_make_one_key_at_once_have_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| NodeKey::load_or_create(&path).unwrap().identity())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        NodeKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(NodeKey::load_or_create(&path), Err(KeyError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn garbage_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        fs::write(&path, b"garbage").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(NodeKey::load_or_create(&path), Err(KeyError::Corrupt(_))));
        assert_eq!(fs::read(&path).unwrap(), b"garbage");
    }
}
