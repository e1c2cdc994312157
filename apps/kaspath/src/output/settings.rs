//! How to print.

use crate::{cli::LogFormat, level::Filter};

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutputSettings {
    pub(crate) format: LogFormat,
    pub(crate) redact: bool,
    pub(crate) filter: Filter,
}
