use kaspath_domain::{Admission, AdmissionPolicy, AdmissionRequest, PeerClass, RefuseReason};

/// How many inbound peers a private node takes. Identities are free to make, so
/// only the total would let one owner fill the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundLimits {
    /// In all.
    pub total: usize,
    /// From one real address.
    pub per_address: usize,
    /// From one prefix of real addresses, a /16 or /48.
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
    fn admit(&self, request: &AdmissionRequest) -> Admission {
        if request.inbound >= self.total {
            return Admission::Refuse(RefuseReason::TooManyInbound { limit: self.total });
        }
        match &request.class {
            PeerClass::Direct { .. } if request.same_class >= self.per_address => {
                Admission::Refuse(RefuseReason::TooManyFromAddress { limit: self.per_address })
            }
            PeerClass::Direct { .. } if request.same_prefix >= self.per_prefix => {
                Admission::Refuse(RefuseReason::TooManyFromPrefix { limit: self.per_prefix })
            }
            PeerClass::Relayed { .. } if request.same_class >= self.per_relay => {
                Admission::Refuse(RefuseReason::TooManyThroughRelay { limit: self.per_relay })
            }
            PeerClass::Direct { .. } | PeerClass::Relayed { .. } => Admission::Accept,
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
        let ask = |class: &PeerClass, inbound, same_class, same_prefix| {
            limits.admit(&AdmissionRequest { peer: None, class: class.clone(), inbound, same_class, same_prefix })
        };
        assert_eq!(ask(&direct, 8, 1, 2), Admission::Accept);
        assert_eq!(ask(&direct, 9, 0, 0), Admission::Refuse(RefuseReason::TooManyInbound { limit: 9 }));
        assert_eq!(ask(&direct, 2, 2, 2), Admission::Refuse(RefuseReason::TooManyFromAddress { limit: 2 }));
        assert_eq!(ask(&direct, 3, 1, 3), Admission::Refuse(RefuseReason::TooManyFromPrefix { limit: 3 }));
        assert_eq!(ask(&relayed, 1, 1, 0), Admission::Refuse(RefuseReason::TooManyThroughRelay { limit: 1 }));
        assert_eq!(ask(&relayed, 1, 0, 0), Admission::Accept);
    }
}
