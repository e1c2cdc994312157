//! How our own NAT maps, from what relays see of us.

use std::collections::HashMap;

use kaspath_domain::{NatMapping, PeerIdentity, Transport};

/// Observers remembered.
const MAX_OBSERVERS: usize = 64;

/// Compares what several relays see. One is not enough: a mapping that is the
/// same for every destination looks as one that is not (RFC 5780, section 4.3).
#[derive(Clone, Debug, Default)]
pub struct MappingObserver {
    ports: HashMap<(PeerIdentity, Transport), u16>,
}

impl MappingObserver {
    /// A relay sees us at that port.
    pub fn observe(&mut self, by: &PeerIdentity, transport: Transport, port: u16) {
        let key = (by.clone(), transport);
        if self.ports.len() < MAX_OBSERVERS || self.ports.contains_key(&key) {
            self.ports.insert(key, port);
        }
    }

    /// What follows from it. Endpoint-dependent if any transport is: that one will
    /// not be punched from here.
    pub fn mapping(&self) -> NatMapping {
        let mut compared = false;
        for transport in [Transport::Tcp, Transport::Quic] {
            let mut ports = self.ports.iter().filter(|((_, over), _)| *over == transport).map(|(_, port)| port);
            let Some(first) = ports.next() else { continue };
            for other in ports {
                if other != first {
                    return NatMapping::EndpointDependent;
                }
                compared = true;
            }
        }
        if compared { NatMapping::EndpointIndependent } else { NatMapping::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_relays_that_disagree_tell_a_symmetric_nat_and_one_alone_tells_nothing() {
        let relay = |n: u8| PeerIdentity::from_bytes(&[0, 1, n]).unwrap();
        let mut observer = MappingObserver::default();
        assert_eq!(observer.mapping(), NatMapping::Unknown);
        observer.observe(&relay(1), Transport::Tcp, 4001);
        observer.observe(&relay(2), Transport::Quic, 5001);
        assert_eq!(observer.mapping(), NatMapping::Unknown, "they see different transports");
        observer.observe(&relay(2), Transport::Tcp, 4001);
        assert_eq!(observer.mapping(), NatMapping::EndpointIndependent);
        observer.observe(&relay(1), Transport::Quic, 6001);
        assert_eq!(observer.mapping(), NatMapping::EndpointDependent);
    }
}
