//! The bytes of a record, big end first.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use kaspath_domain::{
    NatMapping, NodeRecord, PeerIdentity, RecordDraft, RecordKind, RelayAddress, Timestamp, Transport, TransportAddress,
};

use super::{Addresses, RecordError, TTL};

/// The longest payload. What follows the fields of this version is of a later one.
pub(super) const MAX_PAYLOAD: usize = 512;
const VERSION: u8 = 1;
/// The longest name of a Kaspa network.
const MAX_NETWORK: usize = 16;
const MAX_RELAYS: usize = 3;
/// Addresses of one relay: one a family.
const MAX_ADDRESSES: usize = 2;
const MAX_CANDIDATES: usize = 8;
/// IP addresses of one family among the candidates.
const MAX_CANDIDATE_IPS: usize = 2;
const TAG: usize = 16;

const GOSSIP: u8 = 1;
const REACHABLE: u8 = 2;

const UNKNOWN_LOAD: u8 = 255;
const FULL_LOAD: u8 = 16;

/// An Ed25519 peer id is this and the key.
const KEY_PREFIX: [u8; 6] = [0, 36, 8, 1, 18, 32];

/// What is to be said, with what does not fit left out: a draft's relays and candidates
/// come from what is known at the time.
pub(super) fn encode(draft: &RecordDraft, issued: Timestamp, may: Addresses) -> Vec<u8> {
    let kind = match draft.kind {
        RecordKind::Node => 1,
        RecordKind::Relay => 2,
        RecordKind::Both => 3,
    };
    let candidates = candidates(&draft.candidates, may);
    let flag = |is_set, bit| if is_set { bit } else { 0 };
    let flags = flag(draft.gossip, GOSSIP) | flag(draft.reachable, REACHABLE);
    let mapping = match draft.mapping {
        NatMapping::Unknown => 0,
        NatMapping::EndpointIndependent => 1,
        NatMapping::EndpointDependent => 2,
    };
    let network: Vec<u8> = draft.network.bytes().filter(is_plain).take(MAX_NETWORK).collect();
    let mut bytes = vec![VERSION, kind, network.len() as u8];
    bytes.extend_from_slice(&network);
    bytes.extend_from_slice(&[flags, mapping]);
    bytes.extend_from_slice(&millis(issued).to_be_bytes());
    let ttl = draft.ttl.clamp(TTL.0, TTL.1).as_secs();
    bytes.extend_from_slice(&(ttl as u16).to_be_bytes());
    bytes.push(draft.load.map_or(UNKNOWN_LOAD, |load| load.min(FULL_LOAD)));
    put_relays(&mut bytes, &draft.relays, may);
    bytes.push(candidates.len() as u8);
    candidates.into_iter().for_each(|candidate| put_address(&mut bytes, candidate));
    bytes.push(draft.tag.map_or(0, |tag| tag.len() as u8));
    bytes.extend(draft.tag.into_iter().flatten());
    bytes
}

/// What names of Kaspa networks consist of.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-'
}

/// The time in whole milliseconds.
pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// A relay that is known by a name alone is told without an address: who is told by it
/// knows where it is.
fn put_relays(bytes: &mut Vec<u8>, relays: &[RelayAddress], may: Addresses) {
    let mut known: Vec<([u8; 32], Vec<&TransportAddress>)> = Vec::new();
    for relay in relays {
        let Some(key) = key_of(&relay.relay) else { continue };
        let place = match known.iter().position(|(other, _)| *other == key) {
            Some(place) => place,
            None if known.len() < MAX_RELAYS => {
                known.push((key, Vec::new()));
                known.len() - 1
            }
            None => continue,
        };
        if may.allow(&relay.via) {
            known[place].1.push(&relay.via);
        }
    }
    bytes.push(known.len() as u8);
    for (key, mut addresses) in known {
        // It tells its other transport itself.
        addresses.sort_by_key(|address| address.transport);
        let mut families = BTreeSet::new();
        addresses.retain(|address| families.insert(is_v4(address)));
        bytes.extend_from_slice(&key);
        bytes.push(addresses.len() as u8);
        addresses.into_iter().for_each(|address| put_address(bytes, address));
    }
}

fn candidates(of: &[TransportAddress], may: Addresses) -> Vec<&TransportAddress> {
    let mut ips = [BTreeSet::new(), BTreeSet::new()];
    let fits = |address: &&TransportAddress| {
        let Some(ip) = address.ip().filter(|_| may.allow(address)) else { return false };
        let ips = &mut ips[usize::from(ip.is_ipv4())];
        ips.contains(&ip) || (ips.len() < MAX_CANDIDATE_IPS && ips.insert(ip))
    };
    of.iter().filter(fits).take(MAX_CANDIDATES).collect()
}

fn is_v4(address: &TransportAddress) -> bool {
    address.socket_addr().is_some_and(|socket| socket.is_ipv4())
}

fn key_of(identity: &PeerIdentity) -> Option<[u8; 32]> {
    identity.as_bytes().strip_prefix(&KEY_PREFIX)?.try_into().ok()
}

fn put_address(bytes: &mut Vec<u8>, address: &TransportAddress) {
    let Some(socket) = address.socket_addr() else { return };
    let quic = u8::from(address.transport == Transport::Quic);
    match socket.ip() {
        IpAddr::V4(ip) => {
            bytes.push(1 + quic);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(3 + quic);
            bytes.extend_from_slice(&ip.octets());
        }
    }
    bytes.extend_from_slice(&socket.port().to_be_bytes());
}

/// What `peer` has signed. Relays that are named without an address are at `told_by`, if
/// that is the one.
pub(super) fn decode(
    bytes: &[u8],
    peer: PeerIdentity,
    told_by: Option<&RelayAddress>,
    may: Addresses,
) -> Result<NodeRecord, RecordError> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(RecordError::TooLong);
    }
    let mut reader = Reader { bytes, may };
    if reader.byte()? != VERSION {
        return Err(RecordError::Version);
    }
    let kind = match reader.byte()? {
        1 => RecordKind::Node,
        2 => RecordKind::Relay,
        3 => RecordKind::Both,
        _ => return Err(RecordError::Field("kind")),
    };
    let network = reader.network()?;
    let flags = reader.byte()?;
    let mapping = match reader.byte()? {
        0 => NatMapping::Unknown,
        1 => NatMapping::EndpointIndependent,
        2 => NatMapping::EndpointDependent,
        _ => return Err(RecordError::Field("mapping")),
    };
    let issued = Timestamp::from_epoch(Duration::from_millis(u64::from_be_bytes(*reader.array()?)));
    let ttl = Duration::from_secs(u16::from_be_bytes(*reader.array()?).into());
    if !(TTL.0..=TTL.1).contains(&ttl) {
        return Err(RecordError::Field("ttl"));
    }
    let load = match reader.byte()? {
        UNKNOWN_LOAD => None,
        load @ ..=FULL_LOAD => Some(load),
        _ => return Err(RecordError::Field("load")),
    };
    let relays = reader.relays(told_by)?;
    let candidates = reader.candidates()?;
    let tag = match reader.byte()? {
        0 => None,
        16 => Some(*reader.array::<TAG>()?),
        _ => return Err(RecordError::Field("tag")),
    };
    let (gossip, reachable) = (flags & GOSSIP != 0, flags & REACHABLE != 0);
    Ok(NodeRecord { peer, kind, network, gossip, mapping, reachable, issued, ttl, relays, candidates, load, tag })
}

struct Reader<'a> {
    bytes: &'a [u8],
    may: Addresses,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<&[u8; N], RecordError> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(RecordError::TooShort)?;
        self.bytes = rest;
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn network(&mut self) -> Result<String, RecordError> {
        let invalid = RecordError::Field("network");
        let length = usize::from(self.byte()?);
        let (network, rest) = self.bytes.split_at_checked(length).ok_or(RecordError::TooShort)?;
        self.bytes = rest;
        if length > MAX_NETWORK || !network.iter().all(is_plain) {
            return Err(invalid);
        }
        String::from_utf8(network.to_vec()).map_err(|_| invalid)
    }

    fn address(&mut self, field: &'static str) -> Result<TransportAddress, RecordError> {
        let kind = self.byte()?;
        let ip: IpAddr = match kind {
            1 | 2 => Ipv4Addr::from(*self.array()?).into(),
            3 | 4 => Ipv6Addr::from(*self.array()?).into(),
            _ => return Err(RecordError::Field(field)),
        };
        let socket = SocketAddr::new(ip, u16::from_be_bytes(*self.array()?));
        let address = if kind % 2 == 0 { TransportAddress::quic(socket) } else { TransportAddress::tcp(socket) };
        if self.may.allow(&address) { Ok(address) } else { Err(RecordError::Field(field)) }
    }

    /// A count, and so many of something.
    fn count(&mut self, max: usize, field: &'static str) -> Result<usize, RecordError> {
        let count = usize::from(self.byte()?);
        if count <= max { Ok(count) } else { Err(RecordError::Field(field)) }
    }

    fn relays(&mut self, told_by: Option<&RelayAddress>) -> Result<Vec<RelayAddress>, RecordError> {
        const FIELD: &str = "relays";
        let (mut relays, mut known) = (Vec::new(), BTreeSet::new());
        for _ in 0..self.count(MAX_RELAYS, FIELD)? {
            let key = [&KEY_PREFIX, self.array::<32>()?.as_slice()].concat();
            let relay = PeerIdentity::from_bytes(&key).map_err(|_| RecordError::Field(FIELD))?;
            let mut families = BTreeSet::new();
            let count = self.count(MAX_ADDRESSES, FIELD)?;
            for _ in 0..count {
                let via = self.address(FIELD)?;
                if !families.insert(is_v4(&via)) {
                    return Err(RecordError::Field(FIELD));
                }
                relays.push(RelayAddress { relay: relay.clone(), via });
            }
            if count == 0 {
                relays.extend(told_by.filter(|told_by| told_by.relay == relay).cloned());
            }
            if !known.insert(relay) {
                return Err(RecordError::Field(FIELD));
            }
        }
        Ok(relays)
    }

    fn candidates(&mut self) -> Result<Vec<TransportAddress>, RecordError> {
        const FIELD: &str = "candidates";
        let mut found = Vec::new();
        for _ in 0..self.count(MAX_CANDIDATES, FIELD)? {
            found.push(self.address(FIELD)?);
        }
        // What would be left out of a draft is not to be in a record.
        if candidates(&found, self.may).len() < found.len() { Err(RecordError::Field(FIELD)) } else { Ok(found) }
    }
}
