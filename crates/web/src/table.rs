//! Which connections there is room for.

use std::collections::VecDeque;

use kaspath_domain::IpPrefix;

/// Connections at once.
pub const MAX_CONNECTIONS: usize = 32;
/// Of them from one host.
pub(crate) const MAX_OF_HOST: usize = 16;

/// What the table knows of a connection.
pub(crate) trait Held {
    /// It has ended.
    fn is_over(&self) -> bool;
    /// A request of it is being answered. Such a one is not closed for another.
    fn is_busy(&self) -> bool;
    /// Ends it.
    fn close(&self);
}

/// The connections that are open, oldest first.
pub(crate) struct Table<C>(VecDeque<(IpPrefix, C)>);

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<C: Held> Table<C> {
    /// Whether there is room for one more from that host. If need be the oldest that has
    /// asked for nothing yet is closed: of the same host, if its share is taken, else of
    /// the host with the most.
    pub(crate) fn make_room(&mut self, host: IpPrefix) -> bool {
        self.0.retain(|(_, held)| !held.is_over());
        if self.of(host) >= MAX_OF_HOST {
            return self.close_oldest(|other| other == host);
        }
        if self.0.len() < MAX_CONNECTIONS {
            return true;
        }
        let waiting = self.0.iter().filter(|(_, held)| !held.is_busy());
        let most = waiting.map(|(other, _)| self.of(*other)).max().unwrap_or_default();
        let crowded: Vec<IpPrefix> = self.0.iter().map(|(other, _)| *other).filter(|other| self.of(*other) == most).collect();
        self.close_oldest(|other| crowded.contains(&other))
    }

    /// Keeps one for which room was made.
    pub(crate) fn add(&mut self, host: IpPrefix, held: C) {
        self.0.push_back((host, held));
    }

    fn of(&self, host: IpPrefix) -> usize {
        self.0.iter().filter(|(other, _)| *other == host).count()
    }

    fn close_oldest(&mut self, wanted: impl Fn(IpPrefix) -> bool) -> bool {
        let oldest = self.0.iter().position(|(host, held)| wanted(*host) && !held.is_busy());
        oldest.and_then(|oldest| self.0.remove(oldest)).inspect(|(_, held)| held.close()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::Ipv4Addr, rc::Rc};

    use super::*;

    #[derive(Clone, Default)]
    struct Connection(Rc<(Cell<bool>, Cell<bool>)>);

    impl Held for Connection {
        fn is_over(&self) -> bool {
            self.0.0.get()
        }

        fn is_busy(&self) -> bool {
            self.0.1.get()
        }

        fn close(&self) {
            self.0.0.set(true);
        }
    }

    fn host(n: u8) -> IpPrefix {
        IpPrefix::host(Ipv4Addr::new(192, 0, 2, n).into())
    }

    fn open(table: &mut Table<Connection>, n: u8, busy: bool) -> Option<Connection> {
        table.make_room(host(n)).then(|| {
            let connection = Connection::default();
            connection.0.1.set(busy);
            table.add(host(n), connection.clone());
            connection
        })
    }

    #[test]
    fn a_host_has_its_share_and_its_own_oldest_silent_one_makes_room() {
        let mut table = Table::default();
        let all: Vec<_> = (0..MAX_OF_HOST).map(|_| open(&mut table, 1, false).unwrap()).collect();
        let other = open(&mut table, 2, false).unwrap();
        all[0].0.1.set(true);
        assert!(open(&mut table, 1, false).is_some());
        assert_eq!([all[0].is_over(), all[1].is_over(), other.is_over()], [false, true, false], "a busy one stays");
    }

    #[test]
    fn one_whose_host_has_only_busy_ones_is_refused_and_comes_in_when_one_has_ended() {
        let mut table = Table::default();
        let all: Vec<_> = (0..MAX_OF_HOST).map(|_| open(&mut table, 1, true).unwrap()).collect();
        assert!(open(&mut table, 1, false).is_none());
        assert!(open(&mut table, 2, false).is_some());
        all[3].close();
        assert!(open(&mut table, 1, false).is_some());
    }

    #[test]
    fn when_all_are_taken_the_most_crowded_host_makes_room() {
        let mut table = Table::default();
        let few: Vec<_> =
            (0..MAX_CONNECTIONS - MAX_OF_HOST).map(|n| open(&mut table, u8::try_from(n).unwrap() + 2, false).unwrap()).collect();
        let many: Vec<_> = (0..MAX_OF_HOST).map(|_| open(&mut table, 1, false).unwrap()).collect();
        assert!(open(&mut table, 200, false).is_some());
        assert!(many[0].is_over() && !few.iter().any(Held::is_over));
    }
}
