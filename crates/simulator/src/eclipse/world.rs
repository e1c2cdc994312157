//! Relays and peers, of which an attacker has a share, and what each relay tells.

use std::net::Ipv4Addr;

use kaspath_domain::{Groups, PeerIdentity, RelayAddress, TransportAddress, spread};
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

/// A peer: its number, and its provider's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) number: u32,
    block: u32,
}

/// Numbers of peers from here on are the attacker's, and those of relays begin here.
const HOSTILE_FROM: u32 = 1_000_000;
const RELAYS_FROM: u32 = 20_000_000;

impl Peer {
    /// The peer of that number, wherever it is.
    pub(super) fn of(number: u32) -> Self {
        Self { number, block: 0 }
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
    listed: Vec<Peer>,
}

/// All relays: those of groups of their own come first, then the attacker's further ones in
/// the blocks that it has.
pub(super) struct World {
    pub(super) relays: Vec<Relay>,
    /// Relays of which an honest relay has verified that they are there.
    told: Vec<usize>,
    /// Nobody looks at blocks.
    by_identity: bool,
}

/// The identity of a peer or relay.
pub(super) fn identity(number: u32) -> PeerIdentity {
    let bytes = number.to_be_bytes();
    PeerIdentity::from_bytes(&[&[0, 4], bytes.as_slice()].concat()).expect("an identity multihash of four bytes")
}

fn relay(number: u32, block: u8, host: u16) -> RelayAddress {
    let [c, d] = host.to_be_bytes();
    let via = TransportAddress::tcp((Ipv4Addr::new(101 + block / 250, block, c, d), 4001).into());
    RelayAddress { relay: identity(number), via }
}

impl World {
    pub(super) fn new(config: &EclipseConfig, random: &mut StdRng) -> Self {
        let mut relays: Vec<Relay> = Vec::new();
        for n in 0..config.relays {
            let block = u8::try_from(n).unwrap_or(u8::MAX);
            let address = relay(RELAYS_FROM + n as u32, block, 1);
            relays.push(Relay { address, is_hostile: n < config.hostile_relays, listed: Vec::new() });
        }
        let mut order: Vec<usize> = (0..config.relays).collect();
        for number in 0..HONEST as u32 {
            order.shuffle(random);
            for at in &order[..LISTED_AT.min(order.len())] {
                relays[*at].listed.push(Peer { number, block: number });
            }
        }
        // In as many blocks as honest peers have there, and as many identities as the table
        // takes if that is the attack.
        let mut number = HOSTILE_FROM;
        for at in relays.iter_mut().filter(|relay| !relay.is_hostile) {
            let honest = at.listed.len();
            let blocks = (honest as f64 * config.hostile_peers / (1.0 - config.hostile_peers)).round() as usize;
            let each = if config.attack.has_many_identities() { (TABLE - honest) / blocks.max(1) } else { 1 };
            for block in 0..blocks {
                for _ in 0..each {
                    at.listed.push(Peer { number, block: HOSTILE_FROM + block as u32 });
                    number += 1;
                }
            }
        }
        if config.attack.has_many_relays() {
            for n in 0..1000_usize {
                let block = u8::try_from(n % config.hostile_relays.max(1)).unwrap_or(0);
                let address = relay(RELAYS_FROM + (config.relays + n) as u32, block, 2 + n as u16);
                relays.push(Relay { address, is_hostile: true, listed: Vec::new() });
            }
        }
        // An honest relay keeps two of a block, unless identities are all that counts.
        let mut told: Vec<usize> = Vec::new();
        for (n, relay) in relays.iter().enumerate() {
            let block = Groups::of_relay(&relay.address);
            if config.grouping == Grouping::Identities
                || told.iter().filter(|other| Groups::of_relay(&relays[**other].address) == block).count() < 2
            {
                told.push(n);
            }
        }
        Self { relays, told, by_identity: config.grouping == Grouping::Identities }
    }

    /// Whom a relay names when it is asked for peers. A hostile one names its own alone.
    pub(super) fn peers(&self, at: usize, random: &mut StdRng) -> Vec<Peer> {
        let relay = &self.relays[at];
        if relay.is_hostile {
            let first = HOSTILE_FROM * 2 + (at as u32) * 1000;
            return (0..PEERS as u32).map(|n| Peer { number: first + n, block: first + n }).collect();
        }
        spread(relay.listed.iter().copied(), |peer| peer.block, PEERS, &mut || random.gen_range(0.0..1.0))
    }

    /// Which relays it names. A hostile one names its own alone.
    pub(super) fn relays(&self, at: usize, random: &mut StdRng) -> Vec<usize> {
        let relay = &self.relays[at];
        let own = || (0..self.relays.len()).filter(|n| self.relays[*n].is_hostile);
        let from: Vec<usize> = if relay.is_hostile { own().collect() } else { self.told.clone() };
        if self.by_identity {
            return from;
        }
        spread(from, |n| Groups::of_relay(&self.relays[*n].address), RELAYS, &mut || random.gen_range(0.0..1.0))
    }

    /// The position of the relay of that number.
    pub(super) fn index(&self, number: u32) -> usize {
        (number.saturating_sub(RELAYS_FROM) as usize).min(self.relays.len() - 1)
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
            let honest: Vec<usize> = (0..config.relays).filter(|n| !world.relays[*n].is_hostile).collect();
            assert_eq!(honest.len(), 42);
            let (mut hostile, mut all) = (0, 0);
            for at in honest.iter().flat_map(|at| [*at; 50]) {
                let told = world.peers(at, &mut random);
                hostile += told.iter().filter(|peer| peer.is_hostile()).count();
                all += told.len();
            }
            let share = f64::from(hostile as u32) / f64::from(all as u32);
            assert!((share - 0.5).abs() < 0.01, "{attack:?}: {share}");
            assert!(world.relays(honest[0], &mut random).len() <= 42 + 2 * 18);
            assert!(world.relays(0, &mut random).iter().all(|n| world.relays[*n].is_hostile));
        }
    }
}
