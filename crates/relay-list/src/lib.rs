//! Lists of relays, for [`RelayList`](kaspath_domain::RelayList): files, and `/dnsaddr/` names.
//!
//! | file | what it does |
//! |---|---|
//! | `file` | a file with an address a line |
//! | `dnsaddr` | which names are asked, and what their TXT strings say; pure |
//! | `name` | a name that is walked |
//! | `dns` | asks the system's name servers for TXT records |
//! | `source` | a file or a name, as the user writes it |

#![warn(clippy::unwrap_used)]

mod dns;
mod dnsaddr;
mod file;
mod name;
mod source;

pub use dns::{DnsTxt, Txt, TxtRecords};
pub use file::ListFile;
pub use name::ListName;
pub use source::{SourceError, open};

/// Opened for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz {
    /// Walks from one name; every question gets the same TXT strings.
    pub fn dnsaddr(strings: &[&[u8]]) -> usize {
        let mut walk = crate::dnsaddr::Walk::new("relays.example", None);
        let mut asked = 0;
        while walk.next().is_some() {
            asked += 1;
            walk.answered(strings.iter().copied());
        }
        assert!(asked <= 16 && walk.found().len() <= 64);
        asked
    }
}
