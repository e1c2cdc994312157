//! Tokens of private relays. They are in files of their own, and no message shows one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, anyhow, bail};
use kaspath_domain::PeerIdentity;
use kaspath_transport_libp2p::RelayToken;

use super::text_file;

/// Bytes of a file with tokens.
const MAX_FILE: u64 = 64 << 10;
/// Tokens that a relay compares a given one with.
const MAX_TOKENS: usize = 64;

/// The tokens that a relay takes, one a line; more than one while they are being changed.
pub(super) fn of_relay(path: &Path) -> Result<Vec<RelayToken>> {
    let mut tokens = Vec::new();
    for (number, line) in lines("token-file", path)? {
        tokens.push(token(&line, number, "token-file", path)?);
    }
    if tokens.is_empty() {
        bail!("the token-file {} holds no token, so nobody could reserve: write one a line", path.display());
    }
    if tokens.len() > MAX_TOKENS {
        bail!("the token-file {} holds {} tokens, more than {MAX_TOKENS}", path.display(), tokens.len());
    }
    Ok(tokens)
}

/// The one token of a probe.
pub(super) fn single(path: &Path) -> Result<RelayToken> {
    match &of_relay(path)?[..] {
        [token] => Ok(token.clone()),
        tokens => bail!("the token-file {} holds {} tokens, and one is needed", path.display(), tokens.len()),
    }
}

/// The tokens that a node gives, each to its relay: a line `RELAY_ID TOKEN` for each, or a
/// token alone if there is one relay.
pub(super) fn of_node(path: &Path, relays: &BTreeSet<PeerIdentity>) -> Result<BTreeMap<PeerIdentity, RelayToken>> {
    const KEY: &str = "relay-token-file";
    let mut tokens = BTreeMap::new();
    for (number, line) in lines(KEY, path)? {
        let at = || format!("line {number} of the {KEY} {}", path.display());
        let (relay, text) = match line.split_once(char::is_whitespace) {
            // Not the text itself, which may be a token.
            Some((relay, text)) => {
                let relay = relay.parse().map_err(|_| anyhow!("{} does not begin with a relay's peer id, then a space", at()))?;
                (relay, text.trim())
            }
            None => match relays.iter().collect::<Vec<_>>()[..] {
                [relay] => (relay.clone(), line.as_str()),
                _ => {
                    bail!("{} is a token alone, and there are {} relays: write the relay's peer id before it", at(), relays.len())
                }
            },
        };
        if !relays.contains(&relay) {
            bail!("{} is for relay {relay}, which is none of this node's: correct the id, or add it with --relay", at());
        }
        if tokens.insert(relay, token(text, number, KEY, path)?).is_some() {
            bail!("{} gives a relay a second token: leave one out", at());
        }
    }
    if tokens.is_empty() {
        bail!("the {KEY} {} holds no token: write a line `RELAY_ID TOKEN`", path.display());
    }
    Ok(tokens)
}

/// Lines that hold something, with their numbers.
fn lines(key: &str, path: &Path) -> Result<Vec<(usize, String)>> {
    let text = text_file::read_private(key, path, MAX_FILE)?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
}

fn token(text: &str, number: usize, key: &str, path: &Path) -> Result<RelayToken> {
    text.parse().map_err(|error| anyhow!("line {number} of the {key} {} is no token: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn of_relay(text: &str, mode: u32) -> Result<Vec<RelayToken>> {
        let (_dir, path) = file(text, mode);
        super::of_relay(&path)
    }

    fn of_node(text: &str, relays: &[&str]) -> Result<BTreeMap<PeerIdentity, RelayToken>> {
        let (_dir, path) = file(text, 0o600);
        super::of_node(&path, &relays.iter().map(|id| id.parse().unwrap()).collect())
    }

    #[test]
    fn a_relay_takes_every_line_of_a_file_that_only_its_owner_reads() {
        assert_eq!(of_relay("one\n\ntwo\n", 0o600).unwrap(), ["one".parse().unwrap(), "two".parse().unwrap()]);
        let error = |text: &str, mode| format!("{:#}", of_relay(text, mode).unwrap_err());
        assert!(error("one\n", 0o640).contains("chmod 600"));
        assert!(error("\n", 0o600).contains("nobody could reserve"));
        let spaced = error("good\nmy secret\n", 0o600);
        assert!(spaced.contains("line 2") && spaced.contains("without spaces") && !spaced.contains("secret"), "{spaced}");
        assert!(error(&"x\n".repeat(65), 0o600).contains("more than 64"));
    }

    #[test]
    fn a_node_gives_each_relay_its_own_token() {
        let both = of_node(&format!("{A} one\n{B}\ttwo\n"), &[A, B]).unwrap();
        assert_eq!(both[&A.parse().unwrap()], "one".parse().unwrap());
        assert_eq!(both[&B.parse().unwrap()], "two".parse().unwrap());
        assert_eq!(of_node("one\n", &[A]).unwrap().len(), 1);
        let error = |text: &str, relays: &[&str]| format!("{:#}", of_node(text, relays).unwrap_err());
        for (text, relays, expected) in [
            ("secret", &[A, B][..], "peer id before it"),
            ("secret", &[], "peer id before it"),
            (&format!("{B} secret"), &[A], "add it with --relay"),
            (&format!("{A} secret\n{A} secret"), &[A], "second token"),
            ("sec ret", &[A], "peer id, then a space"),
            ("", &[A], "RELAY_ID TOKEN"),
        ] {
            let error = error(text, relays);
            assert!(error.contains(expected) && !error.contains("secret") && !error.contains("sec "), "{text}: {error}");
        }
    }
}
