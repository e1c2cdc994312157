//! Exit codes.

/// The exit code for a failure.
pub(crate) const FAILURE: u8 = 1;
/// The exit code for a wrong flag, file or environment variable.
pub(crate) const USAGE: u8 = 2;
/// The exit code for a bug of this program (`EX_SOFTWARE` of sysexits.h).
pub(crate) const INTERNAL: u8 = 70;
