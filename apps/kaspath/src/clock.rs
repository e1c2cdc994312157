use std::time::{SystemTime, UNIX_EPOCH};

use kaspath_domain::Timestamp;

/// Wall time, for what is written down.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
