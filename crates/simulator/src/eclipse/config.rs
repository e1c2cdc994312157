//! What is played.

/// What the attacker does beside lying: its relays name its own peers and relays alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Nothing else.
    Lies,
    /// Beside it, as many identities as tables take, in the same prefixes.
    Identities,
    /// Beside it, 1,000 relays more, in the same provider blocks.
    Relays,
    /// Beside it, its relays name 64 others in each answer that are not there, always new ones,
    /// half of them in the blocks of honest relays.
    Silent,
    /// All of that.
    All,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lies, Self::Identities, Self::Relays, Self::Silent, Self::All];

    pub(super) fn has_many_identities(self) -> bool {
        matches!(self, Self::Identities | Self::All)
    }

    pub(super) fn has_many_relays(self) -> bool {
        matches!(self, Self::Relays | Self::All)
    }

    pub(super) fn names_silent_relays(self) -> bool {
        matches!(self, Self::Silent | Self::All)
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Lies => "hostile relays name hostile peers and relays alone, answer first and score best",
            Self::Identities => "the same, and 19 hostile identities in each prefix",
            Self::Relays => "the same, and 1,000 hostile relays more in the same blocks",
            Self::Silent => "the same, and 64 new relays an answer that are not there, half of them in honest blocks",
            Self::All => "all of these together",
        }
    }
}

/// What the relays are that a node is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// One honest relay.
    Honest,
    /// So many relays of any kind.
    Any(usize),
}

/// What counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All relays of one provider's block: what a node does.
    Blocks,
    /// Each identity, as if there were no group rule: a control that must fail.
    Identities,
}

/// A world, an attacker, and how long nodes are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct EclipseConfig {
    /// Nodes, each of which looks for peers by itself.
    pub nodes: usize,
    /// Groups of relays, with one relay each.
    pub relays: usize,
    /// Of these, the attacker's.
    pub hostile_relays: usize,
    /// Of the others, those that are down, and that honest relays still name.
    pub down: usize,
    /// Hostile relays in the hostile blocks, if that is the attack.
    pub more_relays: usize,
    /// The attacker's share of the prefixes that an honest relay lists.
    pub hostile_peers: f64,
    /// Discovered peers that a node wants.
    pub slots: usize,
    /// How long each node is watched; 0 for a minute.
    pub hours: f64,
    /// How long an honest peer stays on the average, in hours. Hostile ones stay for ever.
    pub stays: f64,
    /// What the attacker does.
    pub attack: Attack,
    /// What a node is given.
    pub given: Given,
    /// What counts as one.
    pub grouping: Grouping,
    /// The same seed gives the same run.
    pub seed: u64,
}

impl Default for EclipseConfig {
    fn default() -> Self {
        Self {
            nodes: 10_000,
            relays: 60,
            hostile_relays: 18,
            down: 0,
            more_relays: 1000,
            hostile_peers: 0.5,
            slots: 4,
            hours: 0.0,
            stays: 12.0,
            attack: Attack::Lies,
            given: Given::Honest,
            grouping: Grouping::Blocks,
            seed: 1,
        }
    }
}
