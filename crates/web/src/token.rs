use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq;
use thiserror::Error;

/// Characters of a token: fewer could be guessed, more do not fit into a header well.
const LENGTH: std::ops::RangeInclusive<usize> = 20..=512;

/// The secret that a reader has to know. It is never printed.
#[derive(Clone)]
pub struct Token(String);

/// Why a token's file is not usable.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("the token file {0} is not a regular file: write the token into one")]
    NotAFile(PathBuf),
    /// Others may read it.
    #[error("the token file {path} can be read by others (mode {mode:04o}): run `chmod 600` on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What it holds cannot be a token.
    #[error(
        "the token file {0} has to hold one line of {min} to {max} letters, digits and signs without spaces: make one with \
         `openssl rand -hex 32`",
        min = LENGTH.start(),
        max = LENGTH.end()
    )]
    Unusable(PathBuf),
}

impl Token {
    /// Reads a file that its owner alone may read. White space around the token does not count.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |cause| TokenError::Read { path: path.into(), cause };
        let metadata = fs::metadata(path).map_err(failed)?;
        // A pipe would be waited for.
        if !metadata.is_file() {
            return Err(TokenError::NotAFile(path.into()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(TokenError::Exposed { path: path.into(), mode });
            }
        }
        let mut text = String::new();
        let mut bounded = File::open(path).map_err(failed)?.take(2 * *LENGTH.end() as u64);
        match bounded.read_to_string(&mut text) {
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => return Err(TokenError::Unusable(path.into())),
            read => read.map_err(failed)?,
        };
        Self::new(text.trim()).ok_or_else(|| TokenError::Unusable(path.into()))
    }

    /// `None` if the text cannot be a token.
    fn new(text: &str) -> Option<Self> {
        (LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// Another one, that nobody knows yet: 256 random bits.
    pub(crate) fn random() -> Self {
        Self((0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect())
    }

    /// Whether it is this text. How long that takes tells no more than the token's length.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// For the reader to whom it is given.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = "0123456789abcdef0123456789abcdef";

    fn read(text: &[u8], mode: u32) -> Result<Token, TokenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Token::read(&path)
    }

    #[test]
    fn a_private_file_with_one_line_is_a_token() {
        let token = read(format!(" {GOOD}\n").as_bytes(), 0o600).unwrap();
        assert!(token.is(GOOD) && !token.is(&GOOD[1..]) && !token.is("") && !token.is(&GOOD.to_uppercase()));
        assert!(!format!("{token:?}").contains(GOOD));
    }

    #[test]
    fn each_file_that_is_not_usable_has_its_message() {
        assert!(matches!(read(GOOD.as_bytes(), 0o640), Err(TokenError::Exposed { mode: 0o640, .. })));
        for text in
            [&b""[..], b"too short", b"0123456789abcdef 0123456789abcdef", &[b'x'; 2000], b"0123456789abcdef\xff\xfe\xfd\xfc\xfb"]
        {
            let error = read(text, 0o600).unwrap_err();
            assert!(matches!(error, TokenError::Unusable(_)) && error.to_string().contains("openssl rand"), "{error}");
        }
        assert!(matches!(Token::read(Path::new("/nowhere/token")), Err(TokenError::Read { .. })));
        assert!(matches!(Token::read(Path::new("/dev/null")), Err(TokenError::NotAFile(_))));
    }

    #[test]
    fn random_ones_are_long_and_differ() {
        let [one, other] = [(); 2].map(|()| Token::random());
        assert!(one.reveal().len() == 64 && !one.is(other.reveal()));
    }
}
