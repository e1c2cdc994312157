use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{AddressError, PeerAddress, PeerLocator, RelayAddress, RelayList, RelayListError, RelayListing};

/// Larger than any list that a person keeps.
const MAX_FILE: u64 = 64 << 10;
const MAX_LINES: usize = 256;
/// A file is looked at again after this time, and at SIGHUP.
const VALID: Duration = Duration::from_secs(300);

/// A file with the address of a relay a line. What follows a `#` is a comment.
#[derive(Clone, Debug)]
pub struct ListFile {
    path: PathBuf,
}

impl ListFile {
    /// The list in that file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn read_now(path: &Path) -> Result<RelayListing, RelayListError> {
        let unreadable = |cause: String| RelayListError::Unreadable(format!("the file cannot be used: {cause}"));
        let metadata = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() {
            // A pipe would be waited for.
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        if metadata.len() > MAX_FILE {
            return Err(unreadable(format!("it is larger than {} KiB", MAX_FILE >> 10)));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(RelayListing { relays: parse(&text)?, valid_for: VALID })
    }
}

#[async_trait]
impl RelayList for ListFile {
    fn source(&self) -> String {
        self.path.display().to_string()
    }

    async fn read(&self) -> Result<RelayListing, RelayListError> {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || Self::read_now(&path));
        reading.await.unwrap_or_else(|error| Err(RelayListError::Unreadable(error.to_string())))
    }
}

/// The relays of a text.
fn parse(text: &str) -> Result<Vec<RelayAddress>, RelayListError> {
    let mut relays = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let malformed = |cause: String| RelayListError::Malformed { line: n + 1, cause };
        if n >= MAX_LINES {
            return Err(malformed(format!("there are more than {MAX_LINES} lines")));
        }
        let address = line.split('#').next().unwrap_or_default().trim();
        if address.is_empty() {
            continue;
        }
        let locator: PeerLocator = address.parse().map_err(|error: AddressError| malformed(error.to_string()))?;
        if matches!(locator.address, PeerAddress::Relayed(_)) {
            return Err(malformed("it goes through a relay; give the relay's own address".to_owned()));
        }
        relays.push(locator.relay().ok_or_else(|| malformed("append /p2p/<relay peer id>".to_owned()))?);
    }
    if relays.is_empty() { Err(RelayListError::Empty) } else { Ok(relays) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    #[test]
    fn comments_and_empty_lines_are_left_out_and_a_wrong_line_is_named() {
        let relays = parse(&format!("# ours\n\n  {RELAY}  # the first\n")).unwrap();
        assert_eq!(relays.iter().map(ToString::to_string).collect::<Vec<_>>(), [RELAY]);
        assert_eq!(parse("# nothing\n"), Err(RelayListError::Empty));
        for (text, line, expected) in [
            (format!("{RELAY}\nhello"), 2, "hello"),
            ("/ip4/203.0.113.1/tcp/4001".to_owned(), 1, "/p2p/"),
            (format!("{RELAY}/p2p-circuit"), 1, "relay's own"),
            ("\n".repeat(MAX_LINES) + RELAY, MAX_LINES + 1, "more than"),
        ] {
            let Err(RelayListError::Malformed { line: named, cause }) = parse(&text) else { panic!("{text}") };
            assert!(named == line && cause.contains(expected), "{named} {cause}");
        }
    }

    #[tokio::test]
    async fn only_a_regular_file_of_a_sensible_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relays");
        fs::write(&path, RELAY).unwrap();
        let list = ListFile::new(path.clone());
        assert_eq!(list.read().await.unwrap().relays.len(), 1);
        fs::write(&path, "#".repeat(65 << 10)).unwrap();
        assert!(list.read().await.unwrap_err().to_string().contains("larger than 64 KiB"));
        for (path, expected) in [(dir.path().to_owned(), "not a regular file"), (dir.path().join("none"), "No such file")] {
            let error = ListFile::new(path).read().await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
