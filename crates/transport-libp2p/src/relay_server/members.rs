//! Who speaks the relay protocol, on which connections, and with which tokens.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

use kaspath_domain::{IpPrefix, PeerIdentity, spread};
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::origin::Origin;
use crate::{
    RelayToken, convert,
    relay_control::{Frame, Refusal},
};

/// Frames that wait for a node: answers, and one notice.
const MAX_FRAMES: usize = 4;

struct Member<P> {
    peer: P,
    origin: Origin,
    token: Option<RelayToken>,
    /// Its token is one of the relay's. Kept, for to compare tokens takes long, and peers ask often.
    has_token: bool,
    frames: mpsc::Sender<Frame>,
    /// What it was last told.
    refused: Option<Refusal>,
}

impl<P> Member<P> {
    fn send(&self, frame: Frame) {
        // A node that does not read misses the notice, and sees its circuits end instead.
        let _ = self.frames.try_send(frame);
    }

    /// Leaves room for what matters more.
    fn name_neighbour(&self, peer: PeerIdentity) {
        if self.frames.capacity() > MAX_FRAMES / 2 {
            self.send(Frame::Neighbour(peer));
        }
    }
}

/// What a peer is called in frames.
pub(super) trait Identity {
    fn identity(&self) -> PeerIdentity;
}

impl Identity for PeerId {
    fn identity(&self) -> PeerIdentity {
        convert::identity(self)
    }
}

/// One for each connection at most; it goes with the connection.
pub(super) struct Members<P, C>(HashMap<C, Member<P>>);

impl<P, C> Default for Members<P, C> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Eq, C: Copy + Eq + Hash> Members<P, C> {
    /// A peer has said hello on a connection, and is told what comes of it. A stream that it
    /// had there before ends. Gives what is to be sent.
    pub(super) fn add(
        &mut self,
        (peer, connection): (P, C),
        origin: Origin,
        token: Option<RelayToken>,
        tokens: &[RelayToken],
    ) -> mpsc::Receiver<Frame> {
        let (frames, sent) = mpsc::channel(MAX_FRAMES);
        let has_token = token.as_ref().is_some_and(|token| token.is_among(tokens));
        self.0.insert(connection, Member { peer, origin, token, has_token, frames, refused: None });
        sent
    }

    /// The relay has these tokens from now on.
    pub(super) fn judge(&mut self, tokens: &[RelayToken]) {
        for member in self.0.values_mut() {
            member.has_token = member.token.as_ref().is_some_and(|token| token.is_among(tokens));
        }
    }

    pub(super) fn remove(&mut self, connection: C) {
        self.0.remove(&connection);
    }

    /// Where the connection comes from.
    pub(super) fn origin(&self, connection: C) -> Option<Origin> {
        Some(self.0.get(&connection)?.origin)
    }

    /// Answers a hello, or says that the answer has changed.
    pub(super) fn answer(&mut self, connection: C, refused: Option<Refusal>) {
        if let Some(member) = self.0.get_mut(&connection) {
            member.refused = refused;
            member.send(refused.map_or(Frame::Welcome, Frame::Refused));
        }
    }

    /// Whether the peer has given one of the relay's tokens on any of its connections.
    pub(super) fn has_token(&self, peer: &P) -> bool {
        self.0.values().any(|member| member.has_token && member.peer == *peer)
    }

    /// What is wrong with the token that was given on that connection.
    pub(super) fn token_refused(&self, connection: C) -> Option<Refusal> {
        let member = self.0.get(&connection).filter(|member| !member.has_token)?;
        Some(if member.token.is_some() { Refusal::TokenWrong } else { Refusal::TokenMissing })
    }

    /// The connections, whose they are and where they come from.
    pub(super) fn origins(&self) -> impl Iterator<Item = (C, &P, Origin)> {
        self.0.iter().map(|(connection, member)| (*connection, &member.peer, member.origin))
    }

    /// Up to `n` that may help with `peer`, which comes from `network`: other peers, each of
    /// another network, of those that are not refused and that `may_help`. The network is
    /// drawn first, so that no network is drawn more often for all its connections.
    /// `random` gives numbers in 0..1.
    pub(super) fn helpers(
        &self,
        (peer, network): (&P, IpPrefix),
        n: usize,
        may_help: impl Fn(&P) -> bool,
        random: &mut dyn FnMut() -> f64,
    ) -> Vec<(P, C)>
    where
        P: Clone + Hash,
    {
        let fits = |member: &Member<P>| member.refused.is_none() && member.peer != *peer && may_help(&member.peer);
        let fitting = self.0.iter().filter(|(_, member)| fits(member));
        let (mut peers, mut networks) = (HashSet::new(), BTreeSet::from([network]));
        let drawn = spread(fitting, |(_, member)| member.origin.prefix, usize::MAX, random).into_iter();
        let others = drawn.filter(|(_, Member { peer, origin, .. })| {
            !peers.contains(peer) && networks.insert(origin.prefix) && peers.insert(peer.clone())
        });
        others.map(|(connection, member)| (member.peer.clone(), *connection)).take(n).collect()
    }

    /// What the node on that connection was told last.
    pub(super) fn refused(&self, connection: C) -> Option<Refusal> {
        self.0.get(&connection)?.refused
    }

    /// The relay drains: to one of them, or to all.
    pub(super) fn drain(&self, only: Option<C>, left: Duration) {
        let among = self.0.iter().filter(|(connection, _)| only.is_none_or(|only| only == **connection));
        among.for_each(|(_, member)| member.send(Frame::Draining(left)));
    }

    /// A circuit joins these peers. If both come from one host, each is told of the other; by their
    /// streams here alone that is known.
    pub(super) fn joined(&self, [source, destination]: &[P; 2])
    where
        P: Identity,
    {
        let of = |peer: &P| self.0.values().filter(|member| member.peer == *peer).collect::<Vec<_>>();
        let (sources, destinations) = (of(source), of(destination));
        let hosts: Vec<IpPrefix> = sources.iter().map(|member| member.origin.host).collect();
        if destinations.iter().any(|member| hosts.contains(&member.origin.host)) {
            sources.iter().for_each(|member| member.name_neighbour(destination.identity()));
            destinations.iter().for_each(|member| member.name_neighbour(source.identity()));
        }
    }

    /// Those whose stream is open.
    pub(super) fn count(&self) -> usize {
        self.0.values().filter(|member| !member.frames.is_closed()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin::of([192, 0, 2, 1].into())
    }

    impl Identity for u32 {
        fn identity(&self) -> PeerIdentity {
            let id = [&[0, 4][..], &self.to_be_bytes()].concat();
            PeerIdentity::from_bytes(&id).unwrap()
        }
    }

    #[test]
    fn only_peers_of_one_host_are_told_of_each_other_and_a_drain_still_comes_through() {
        let mut members = Members::<u32, u32>::default();
        let mut at = |peer, connection, ip: &str| members.add((peer, connection), Origin::of(ip.parse().unwrap()), None, &[]);
        let mut streams = [
            at(1, 1, "192.0.2.1"),
            at(2, 2, "192.0.2.2"),
            at(2, 3, "2001:db8::2"),
            at(3, 4, "2001:db8::9"),
            at(4, 5, "192.0.2.1"),
        ];
        let mut heard = || streams.each_mut().map(|stream| std::iter::from_fn(|| stream.try_recv().ok()).collect::<Vec<_>>());
        let named = |peer: u32| vec![Frame::Neighbour(peer.identity())];
        for (pair, expected) in [
            ([1, 2], [vec![], vec![], vec![], vec![], vec![]]),
            ([1, 4], [named(4), vec![], vec![], vec![], named(1)]),
            // By one of two links, over IPv6: both of its streams are told.
            ([2, 3], [vec![], named(3), named(3), named(2), vec![]]),
            ([1, 77], [vec![], vec![], vec![], vec![], vec![]]),
        ] {
            members.joined(&pair);
            assert_eq!(heard(), expected, "{pair:?}");
        }
        (0..100).for_each(|_| members.joined(&[1, 4]));
        members.drain(None, Duration::from_secs(3));
        assert_eq!(heard()[0].last(), Some(&Frame::Draining(Duration::from_secs(3))));
    }

    #[test]
    fn helpers_are_drawn_by_network_and_none_is_refused_or_the_asker() {
        let mut members = Members::<u32, u32>::default();
        let mut next = 0;
        let mut add = |peer: u32, ip: [u8; 4]| {
            next += 1;
            let frames = members.add((peer, next), Origin::of(ip.into()), None, &[]);
            members.answer(next, None);
            frames
        };
        // A crowd in one network, lone nodes in eight, one that has no reservation, and one that
        // comes from two networks.
        let mut streams: Vec<_> = (0..64).map(|n| add(100 + n % 16, [203, 0, 113, n as u8])).collect();
        streams.extend((1..=8).map(|n| add(n, [198, 51, n as u8, 1])));
        streams.extend([add(50, [192, 0, 2, 1]), add(60, [192, 0, 3, 1]), add(60, [192, 0, 4, 1]), add(70, [192, 0, 5, 1])]);
        members.answer(next, Some(Refusal::TokenMissing));
        let asker = Origin::of([198, 51, 1, 99].into());
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((state >> 33) as u32) / f64::from(1_u32 << 31)
        };
        let mut drawn: HashMap<String, u32> = HashMap::new();
        for _ in 0..1_000 {
            let helpers = members.helpers((&2, asker.prefix), 2, |peer| *peer != 50, &mut random);
            let [(one, at), (other, _)] = helpers[..] else { panic!("two: {helpers:?}") };
            assert!(one != other && ![one, other].iter().any(|peer| [1, 2, 50, 70].contains(peer)), "{helpers:?}");
            *drawn.entry(members.origin(at).unwrap().prefix.to_string()).or_default() += 1;
        }
        // The crowd, six of the eight, and both networks of the one that has two.
        assert_eq!(drawn.len(), 9, "{drawn:?}");
        assert!(drawn.values().all(|times| (70..150).contains(times)), "{drawn:?}");
    }

    #[test]
    fn a_token_counts_for_the_peer_and_goes_with_its_connection() {
        let token = |text: &str| text.parse::<RelayToken>().unwrap();
        let tokens = [token("one"), token("two")];
        let mut members = Members::<u32, u32>::default();
        let mut with = members.add((7, 1), origin(), Some(token("two")), &tokens);
        let _without = members.add((7, 2), origin(), None, &tokens);
        let _wrong = members.add((8, 3), origin(), Some(token("three")), &tokens);
        assert!(members.has_token(&7) && !members.has_token(&8));
        assert_eq!(members.token_refused(1), None);
        assert_eq!(members.token_refused(2), Some(Refusal::TokenMissing));
        assert_eq!(members.token_refused(3), Some(Refusal::TokenWrong));
        members.judge(&[token("three")]);
        assert!(members.has_token(&8) && members.token_refused(1) == Some(Refusal::TokenWrong));
        members.judge(&tokens);
        members.answer(1, None);
        members.drain(None, Duration::from_secs(3));
        assert_eq!(with.try_recv(), Ok(Frame::Welcome));
        assert_eq!(with.try_recv(), Ok(Frame::Draining(Duration::from_secs(3))));
        assert_eq!(members.count(), 3);
        members.remove(1);
        assert!(with.try_recv().is_err() && !members.has_token(&7));
        // Another hello on a connection takes the place of the first.
        let again = members.add((8, 3), origin(), Some(token("one")), &tokens);
        assert!(members.has_token(&8) && members.count() == 2);
        drop(again);
        assert_eq!(members.count(), 1);
    }
}
