use std::{path::PathBuf, sync::Arc};

use kaspath_domain::RelayList;
use thiserror::Error;

use crate::{DnsTxt, ListFile, ListName, dnsaddr};

/// A text that is neither a file nor a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is neither a file nor a name: give a file's path, a name like relays.example.org, or /dnsaddr/relays.example.org")]
pub struct SourceError(String);

/// The list that a text names: `/dnsaddr/NAME`, with an optional `/p2p/ID`, or a name alone; what has
/// a slash, or is a file in the current folder, is a file.
///
/// # Errors
/// It can be none of these.
pub fn open(text: &str) -> Result<Arc<dyn RelayList>, SourceError> {
    let named = |text: &str| {
        let (name, relay) = dnsaddr::name(text)?;
        Some(Arc::new(ListName::new(name, relay, DnsTxt::system())) as Arc<dyn RelayList>)
    };
    let list = match text.strip_prefix("/dnsaddr/") {
        Some(rest) => named(rest),
        None if text.contains('/') || PathBuf::from(text).is_file() => Some(Arc::new(ListFile::new(text.into())) as _),
        None => named(text),
    };
    list.ok_or_else(|| SourceError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_path_are_told_apart() {
        let source = |text| open(text).map(|list| list.source()).unwrap_or_default();
        assert_eq!(source("Relays.example."), "relays.example");
        assert_eq!(source("/dnsaddr/relays.example/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"), "relays.example");
        assert_eq!(source("./relays"), "./relays");
        assert_eq!(source("Cargo.toml"), "Cargo.toml", "a file that is there");
        for wrong in ["", "two words", "/dnsaddr/", "/dnsaddr/a/b"] {
            assert!(open(wrong).is_err(), "{wrong}");
        }
    }
}
