/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// It is longer than the limit, or takes more memory than it.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// All peers' messages together hold as much as they may.
    NoRoom,
    /// It is not a gRPC frame, not gzip or not a Kaspa message.
    Malformed(&'static str),
}
