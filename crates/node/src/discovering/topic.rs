/// What is looked for, and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// Peers of this node's kind.
    Peers,
    /// Relays, and nodes that serve as one.
    Relays,
}
