//! Which peer is meant.

use std::{collections::BTreeSet, str::FromStr};

use kaspath_domain::PeerIdentity;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Characters of a short peer id, as logs print it: [`PeerIdentity::short`].
const SHORT: usize = 8;
/// Bytes of every libp2p peer id that is a digest or an inlined public key. What is
/// shorter is the end of one.
const FULL_BYTES: usize = 34;
/// Candidates that an error lists.
const MAX_LISTED: usize = 8;

/// A peer as a user selects it: by its peer id in full, or by its last 8 characters or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PeerSelector(String);

/// Why a text selects no peer, or several, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl PeerSelector {
    /// The peer that is meant, among those that are `known`. A full peer id need not
    /// be known.
    ///
    /// # Errors
    /// If no known peer id ends so, or several do.
    pub fn resolve(&self, known: impl IntoIterator<Item = PeerIdentity>) -> Result<PeerIdentity, SelectorError> {
        if let Ok(full) = self.0.parse::<PeerIdentity>()
            && full.as_bytes().len() >= FULL_BYTES
        {
            return Ok(full);
        }
        let candidates: BTreeSet<PeerIdentity> = known.into_iter().filter(|peer| peer.to_string().ends_with(&self.0)).collect();
        let name = &self.0;
        match candidates.first() {
            None => Err(SelectorError(format!(
                "no known peer id ends with {name}: `kaspath peers list` and `kaspath status` show those that are known, or give it in full"
            ))),
            Some(only) if candidates.len() == 1 => Ok(only.clone()),
            Some(_) => {
                let count = candidates.len();
                let listed: Vec<String> = candidates.iter().take(MAX_LISTED).map(ToString::to_string).collect();
                let more = if count > MAX_LISTED { format!(" and {} more", count - MAX_LISTED) } else { String::new() };
                Err(SelectorError(format!(
                    "{name} is the end of {count} peer ids: give more characters of one of {}{more}",
                    listed.join(", ")
                )))
            }
        }
    }
}

impl FromStr for PeerSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let is_base58 = |c: char| c.is_ascii_alphanumeric() && !matches!(c, '0' | 'O' | 'I' | 'l');
        if (SHORT..=128).contains(&text.len()) && text.chars().all(is_base58) {
            Ok(Self(text.to_owned()))
        } else {
            let text: String = text.chars().take(64).collect();
            Err(SelectorError(format!(
                "{text:?} is not a peer id: give it in full, or at least its last {SHORT} characters, as logs print them"
            )))
        }
    }
}

impl TryFrom<String> for PeerSelector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn peer(text: &str) -> PeerIdentity {
        text.parse().unwrap()
    }

    fn resolve(name: &str, known: &[PeerIdentity]) -> Result<PeerIdentity, SelectorError> {
        name.parse::<PeerSelector>()?.resolve(known.iter().cloned())
    }

    #[test]
    fn a_short_id_is_the_known_peer_that_logs_name_so() {
        let known = [peer(A), peer(B), peer(A)];
        assert_eq!(resolve(&peer(A).short(), &known), Ok(peer(A)));
        assert_eq!(resolve(&B[B.len() - 20..], &known), Ok(peer(B)));
        assert_eq!(resolve(B, &[]), Ok(peer(B)), "a full one need not be known");
        let unknown = resolve("4kx6nXTM", &known).unwrap_err().to_string();
        assert!(unknown.contains("4kx6nXTM") && unknown.contains("kaspath peers list"), "{unknown}");
    }

    #[test]
    fn an_ambiguous_one_lists_the_candidates() {
        // Ids that differ only in their first bytes.
        let like = |n: u8| {
            let mut bytes = peer(A).as_bytes().to_vec();
            bytes[6] = n;
            PeerIdentity::from_bytes(&bytes).unwrap()
        };
        let known: Vec<PeerIdentity> = (0..12).map(like).collect();
        let ends = known.iter().map(|peer| peer.to_string()[44..].to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(ends.len(), 12, "base58 mixes all digits, so these differ");
        let twice = [known[0].clone(), known[1].clone()];
        let name = PeerSelector(String::new());
        let error = name.resolve(twice.clone()).unwrap_err();
        assert!(twice.iter().all(|peer| error.to_string().contains(&peer.to_string())), "{error}");
        assert!(error.to_string().contains("of 2 peer ids") && !error.to_string().contains(" and "), "{error}");
        assert!(name.resolve(known).unwrap_err().to_string().ends_with(" and 4 more"));
    }

    #[test]
    fn what_can_be_no_id_is_refused_before_it_is_looked_for() {
        for text in ["", "6nXTN", "4kx6nXT0", "4kx6nXT\n", "żółćżółć", &"1".repeat(129)] {
            let error = text.parse::<PeerSelector>().unwrap_err().to_string();
            assert!(error.contains("last 8 characters") && error.len() < 300, "{error}");
        }
    }
}
