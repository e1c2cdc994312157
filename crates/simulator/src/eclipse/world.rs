//! Relays and peers, of which an attacker has a share, and what each relay tells.

use std::net::Ipv4Addr;

use kaspath_domain::{PeerIdentity, RelayAddress, TransportAddress, spread};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::config::{EclipseConfig, Grouping};

/// Entries of an answer.
const PEERS: usize = 32;
const RELAYS: usize = 128;
/// Relays at which a peer is listed.
const LISTED_AT: usize = 3;
/// Honest peers.
const HONEST: usize = 1000;
/// Entries that a rendezvous point has room for.
const TABLE: usize = 1024;

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) number: u32,
}

/// Numbers of peers from here on are the attacker's, and those of relays begin here.
const HOSTILE_FROM: u32 = 1_000_000;
const RELAYS_FROM: u32 = 20_000_000;

impl Peer {
    /// The peer of that number, wherever it is.
    pub(super) fn of(number: u32) -> Self {
        Self { number }
    }

    pub(super) fn is_hostile(self) -> bool {
        self.number >= HOSTILE_FROM
    }
}

/// A relay, and whom an honest one lists.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) address: RelayAddress,
    pub(super) is_hostile: bool,
    /// It was there once, and others still name it.
    is_down: bool,
    block: u8,
    /// By their blocks.
    listed: Vec<Vec<Peer>>,
}

/// All relays: those of groups of their own come first, then the attacker's further ones in
/// the blocks that it has. Positions from [`SILENT`] on are relays that are not there.
pub(super) struct World {
    relays: Vec<Relay>,
    /// Relays of which an honest relay has verified that they are there.
    told: Vec<usize>,
    own: Vec<usize>,
    /// Nobody looks at blocks.
    by_identity: bool,
    names_silent: bool,
    groups: usize,
    hostile: usize,
}

/// Positions of relays that are only named.
const SILENT: usize = 2_000_000;
/// Of an answer of a hostile relay that names such relays: its own ones.
const OWN: usize = 64;

/// The identity of a peer or relay.
pub(super) fn identity(number: u32) -> PeerIdentity {
    let bytes = number.to_be_bytes();
    PeerIdentity::from_bytes(&[&[0, 4], bytes.as_slice()].concat()).expect("an identity multihash of four bytes")
}

/// The number in an identity of ours.
pub(super) fn number(peer: &PeerIdentity) -> u32 {
    peer.as_bytes().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The position of the relay of that identity.
pub(super) fn position(relay: &PeerIdentity) -> usize {
    number(relay).saturating_sub(RELAYS_FROM) as usize
}

fn relay(at: usize, block: u8, host: u16) -> RelayAddress {
    let [c, d] = host.to_be_bytes();
    let via = TransportAddress::tcp((Ipv4Addr::new(101 + block / 250, block, c, d), 4001).into());
    RelayAddress { relay: identity(RELAYS_FROM + at as u32), via }
}

impl World {
    pub(super) fn new(config: &EclipseConfig, random: &mut StdRng) -> Self {
        let mut relays: Vec<Relay> = Vec::new();
        for n in 0..config.relays {
            let block = u8::try_from(n).unwrap_or(u8::MAX);
            let is_hostile = n < config.hostile_relays;
            let is_down = !is_hostile && n < config.hostile_relays + config.down;
            relays.push(Relay { address: relay(n, block, 1), is_hostile, is_down, block, listed: Vec::new() });
        }
        let mut order: Vec<usize> = (0..config.relays).collect();
        for number in 0..HONEST as u32 {
            order.shuffle(random);
            for at in &order[..LISTED_AT.min(order.len())] {
                relays[*at].listed.push(vec![Peer { number }]);
            }
        }
        // In as many blocks as honest peers have there, and as many identities as the table
        // takes if that is the attack.
        let mut numbers = HOSTILE_FROM..;
        for at in relays.iter_mut().filter(|relay| !relay.is_hostile) {
            let honest = at.listed.len();
            let blocks = (honest as f64 * config.hostile_peers / (1.0 - config.hostile_peers)).round() as usize;
            let each = if config.attack.has_many_identities() { (TABLE - honest) / blocks.max(1) } else { 1 };
            let hostile = |_| (0..each).zip(&mut numbers).map(|(_, number)| Peer { number }).collect();
            at.listed.extend((0..blocks).map(hostile).collect::<Vec<Vec<Peer>>>());
        }
        if config.attack.has_many_relays() {
            for n in 0..config.more_relays {
                let block = u8::try_from(n % config.hostile_relays.max(1)).unwrap_or(0);
                let address = relay(config.relays + n, block, 2 + n as u16);
                relays.push(Relay { address, is_hostile: true, is_down: false, block, listed: Vec::new() });
            }
        }
        // An honest relay keeps two of a block, unless identities are all that counts.
        let by_identity = config.grouping == Grouping::Identities;
        let mut told: Vec<usize> = Vec::new();
        for (n, relay) in relays.iter().enumerate() {
            if by_identity || told.iter().filter(|other| relays[**other].block == relay.block).count() < 2 {
                told.push(n);
            }
        }
        let own = (0..relays.len()).filter(|n| relays[*n].is_hostile).collect();
        let names_silent = config.attack.names_silent_relays();
        Self { relays, told, own, by_identity, names_silent, groups: config.relays, hostile: config.hostile_relays }
    }

    /// Whom a relay names when it is asked for peers. A hostile one names its own alone.
    pub(super) fn peers(&self, at: usize, random: &mut StdRng) -> Vec<Peer> {
        let Some(relay) = self.relays.get(at) else { return Vec::new() };
        if relay.is_hostile {
            let first = HOSTILE_FROM * 2 + (at as u32) * 1000;
            return (0..PEERS as u32).map(|n| Peer { number: first + n }).collect();
        }
        // One of a block first: there are more blocks than an answer has entries.
        let blocks = spread(0..relay.listed.len(), |block| *block, PEERS, &mut || random.gen_range(0.0..1.0));
        blocks.into_iter().filter_map(|block| relay.listed[block].choose(random).copied()).collect()
    }

    /// Which relays it names. A hostile one names its own alone, and such as are not there:
    /// half of them in the blocks of honest ones. `named` counts these.
    pub(super) fn relays(&self, at: usize, named: &mut usize, random: &mut StdRng) -> Vec<usize> {
        let is_hostile = self.is_hostile(at);
        let from = if is_hostile { &self.own } else { &self.told };
        if self.by_identity {
            return from.clone();
        }
        let names_silent = is_hostile && self.names_silent;
        let count = if names_silent { OWN } else { RELAYS };
        let block = |n: &usize| self.relays[*n].block;
        let mut named_now = spread(from.iter().copied(), block, count, &mut || random.gen_range(0.0..1.0));
        if names_silent {
            let first = SILENT + *named;
            let new = RELAYS - named_now.len();
            named_now.extend(first..first + new);
            *named += new;
        }
        named_now
    }

    /// Where a relay is, or says it is.
    pub(super) fn address(&self, at: usize) -> RelayAddress {
        let Some(known) = self.relays.get(at) else {
            let honest = self.groups - self.hostile;
            let block = if at.is_multiple_of(2) { self.hostile + at / 2 % honest.max(1) } else { 100 + at / 2 % 140 };
            return relay(at, u8::try_from(block).unwrap_or(u8::MAX), 2 + (at % 65_000) as u16);
        };
        known.address.clone()
    }

    pub(super) fn is_hostile(&self, at: usize) -> bool {
        self.relays.get(at).is_none_or(|relay| relay.is_hostile)
    }

    /// Whether it answers nothing.
    pub(super) fn is_silent(&self, at: usize) -> bool {
        self.relays.get(at).is_none_or(|relay| relay.is_down)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::eclipse::config::Attack;

    #[test]
    fn an_honest_relay_names_the_attackers_prefixes_by_their_share_however_many_identities_they_have() {
        for attack in [Attack::Lies, Attack::Identities, Attack::All] {
            let config = EclipseConfig { attack, ..EclipseConfig::default() };
            let mut random = StdRng::seed_from_u64(3);
            let world = World::new(&config, &mut random);
            let honest: Vec<usize> = (0..config.relays).filter(|n| !world.is_hostile(*n)).collect();
            assert_eq!(honest.len(), 42);
            let (mut hostile, mut all) = (0, 0);
            for at in honest.iter().flat_map(|at| [*at; 50]) {
                let told = world.peers(at, &mut random);
                hostile += told.iter().filter(|peer| peer.is_hostile()).count();
                all += told.len();
            }
            let share = f64::from(hostile as u32) / f64::from(all as u32);
            assert!((share - 0.5).abs() < 0.01, "{attack:?}: {share}");
            let mut named = 0;
            assert!(world.relays(honest[0], &mut named, &mut random).len() <= 42 + 2 * 18);
            assert!(named == 0 && world.relays(0, &mut named, &mut random).iter().all(|n| world.is_hostile(*n)));
            assert_eq!(named > 0, attack == Attack::All);
        }
    }
}
