//! The node's key pair and its file.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
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
        /// The system's word.
        cause: io::Error,
    },
    /// It could not be written.
    #[error("cannot create the identity file {path}: {cause}")]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Others may read it.
    #[error("the identity file {path} can be read by others (mode {mode:04o}): run `chmod 600` on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("the identity file {path} holds no key: move it away and a new identity is made, or restore it from a copy")]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
}

impl NodeKey {
    /// A new key, kept nowhere.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The key in `path`, which is made with mode 0600 if it is not there.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match fs::metadata(path) {
            Ok(metadata) => Self::load(path, &metadata),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(cause) => Err(KeyError::Read { path: path.into(), cause }),
        }
    }

    fn load(path: &Path, metadata: &fs::Metadata) -> Result<Self, KeyError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.into(), mode });
            }
        }
        let corrupt = || KeyError::Corrupt { path: path.into() };
        if metadata.len() > MAX_KEY_FILE {
            return Err(corrupt());
        }
        let bytes = fs::read(path).map_err(|cause| KeyError::Read { path: path.into(), cause })?;
        Self::decode(&bytes).ok_or_else(corrupt)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Keypair::from_protobuf_encoding(bytes).map(Self).ok()
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let create_error = |cause| KeyError::Create { path: path.into(), cause };
        let key = Self::generate();
        let bytes = key.0.to_protobuf_encoding().map_err(|_| KeyError::Corrupt { path: path.into() })?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(create_error)?;
        }
        // Written beside and renamed, so that a crash leaves a whole file or none.
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(&temporary).map_err(create_error)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(create_error)?;
        // A hard link fails if another process has made the file meanwhile; a rename would replace it.
        let linked = fs::hard_link(&temporary, path);
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => Ok(key),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Self::load_or_create(path),
            Err(cause) => Err(create_error(cause)),
        }
    }

    /// The identity that this key proves.
    pub fn identity(&self) -> PeerIdentity {
        convert::identity(&self.0.public().to_peer_id())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_private_and_gives_the_same_identity_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/identity.key");
        let first = NodeKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(NodeKey::load_or_create(&path).unwrap().identity(), first.identity());
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
        assert!(matches!(NodeKey::load_or_create(&path), Err(KeyError::Corrupt { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"garbage");
    }
}
