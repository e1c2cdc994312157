use kaspath_domain::{Admission, AdmissionRequest, RefuseReason};

/// How many inbound peers a private node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundLimits {
    /// In all.
    pub total: usize,
    /// From one address or through one relay: a relay must not fill the node.
    pub of_one_kind: usize,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self { total: 8, of_one_kind: 4 }
    }
}

impl InboundLimits {
    /// The decision for one peer.
    pub fn admit(&self, request: &AdmissionRequest) -> Admission {
        if request.inbound >= self.total {
            Admission::Refuse(RefuseReason::TooManyInbound { limit: self.total })
        } else if request.same_class >= self.of_one_kind {
            Admission::Refuse(RefuseReason::TooManyOfOneKind { limit: self.of_one_kind })
        } else {
            Admission::Accept
        }
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::PeerClass;

    use super::*;

    #[test]
    fn the_total_and_the_kind_are_limited() {
        let limits = InboundLimits { total: 3, of_one_kind: 2 };
        let ask = |inbound, same_class| {
            let class = PeerClass::Direct { from: "192.0.2.1".parse().unwrap() };
            limits.admit(&AdmissionRequest { peer: None, class, inbound, same_class })
        };
        assert_eq!(ask(2, 1), Admission::Accept);
        assert_eq!(ask(3, 0), Admission::Refuse(RefuseReason::TooManyInbound { limit: 3 }));
        assert_eq!(ask(2, 2), Admission::Refuse(RefuseReason::TooManyOfOneKind { limit: 2 }));
    }
}
