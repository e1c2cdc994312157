use kaspath_domain::{AdmissionPolicy, AdmissionRequest, PeerClass, RefuseReason};

/// How many inbound peers a private node takes. Identities are free to make, so
/// only the total would let one owner fill the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundLimits {
    /// In all.
    pub total: usize,
    /// From one real address.
    pub per_address: usize,
    /// From one prefix of real addresses, a /16 or /32.
    pub per_prefix: usize,
    /// Through one relay, whose owner may have made them all.
    pub per_relay: usize,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self { total: 8, per_address: 2, per_prefix: 4, per_relay: 4 }
    }
}

impl AdmissionPolicy for InboundLimits {
    fn admit(&self, request: &AdmissionRequest) -> Result<(), RefuseReason> {
        let is_relayed = matches!(request.class, PeerClass::Relayed { .. });
        if request.inbound >= self.total {
            Err(RefuseReason::TooManyInbound { limit: self.total })
        } else if is_relayed && request.same_class >= self.per_relay {
            Err(RefuseReason::TooManyThroughRelay { limit: self.per_relay })
        } else if !is_relayed && request.same_class >= self.per_address {
            Err(RefuseReason::TooManyFromAddress { limit: self.per_address })
        } else if !is_relayed && request.same_group >= self.per_prefix {
            Err(RefuseReason::TooManyFromPrefix { limit: self.per_prefix })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::PeerIdentity;

    use super::*;

    #[test]
    fn the_total_the_address_the_prefix_and_the_relay_are_limited() {
        let limits = InboundLimits { total: 9, per_address: 2, per_prefix: 3, per_relay: 1 };
        let direct = PeerClass::Direct { from: [192, 0, 2, 1].into() };
        let relayed = PeerClass::Relayed { relay: PeerIdentity::from_bytes(&[0, 1, 7]).unwrap() };
        let ask = |class: &PeerClass, inbound, same_class, same_group| {
            limits.admit(&AdmissionRequest { peer: None, class: class.clone(), inbound, same_class, same_group })
        };
        assert_eq!(ask(&direct, 8, 1, 2), Ok(()));
        assert_eq!(ask(&direct, 9, 0, 0), Err(RefuseReason::TooManyInbound { limit: 9 }));
        assert_eq!(ask(&direct, 2, 2, 2), Err(RefuseReason::TooManyFromAddress { limit: 2 }));
        assert_eq!(ask(&direct, 3, 1, 3), Err(RefuseReason::TooManyFromPrefix { limit: 3 }));
        assert_eq!(ask(&relayed, 1, 1, 0), Err(RefuseReason::TooManyThroughRelay { limit: 1 }));
        assert_eq!(ask(&relayed, 1, 0, 0), Ok(()));
    }
}
