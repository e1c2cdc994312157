use async_trait::async_trait;
use kaspath_domain::{Attempt, ConnectorError, DialPlan, DuplexStream, PeerConnector, PeerTarget, RelayAddress, Route, Stage};

use crate::Executor;

/// Runs the same policy's plans for sessions, which move to a better path by themselves:
/// everything that a plan allows is tried at once, and the first stream wins.
pub struct SessionExecutor {
    /// Its dialers give a circuit for a punched route at once.
    relayed: Executor,
    /// Its dialers wait for the punch, for a policy that uses no relay.
    direct: Executor,
}

impl SessionExecutor {
    /// `relayed` and `direct` are clones of one executor with such dialers.
    pub fn new(relayed: Executor, direct: Executor) -> Self {
        Self { relayed, direct }
    }
}

#[async_trait]
impl PeerConnector for SessionExecutor {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let (policy, request) = self.relayed.request(target);
        let plan = policy.plan(&request, self.relayed.now())?;
        let is_relayed = plan
            .stages
            .iter()
            .flat_map(|stage| &stage.attempts)
            .any(|attempt| matches!(attempt.request.route, Route::Relayed(_)));
        let executor = if is_relayed { &self.relayed } else { &self.direct };
        executor.run(policy.as_ref(), &request, at_once(plan)).await
    }
}

/// All stages of a plan in one. A circuit is left out if it also comes with a punch.
fn at_once(plan: DialPlan) -> DialPlan {
    let mut attempts: Vec<Attempt> = plan.stages.into_iter().flat_map(|stage| stage.attempts).collect();
    let punched = |attempt: &Attempt| match &attempt.request.route {
        Route::Punched { relay, .. } => Some(relay.clone()),
        _ => None,
    };
    let punched: Vec<RelayAddress> = attempts.iter().filter_map(punched).collect();
    attempts.retain(|attempt| !matches!(&attempt.request.route, Route::Relayed(relay) if punched.contains(relay)));
    attempts.sort_by_key(|attempt| attempt.start_after);
    DialPlan { stages: vec![Stage { attempts }] }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{DialRequest, TransportAddress, TransportSet};

    use super::*;

    fn attempt(route: Route, start_after: u64) -> Attempt {
        let request = DialRequest { peer: None, route, timeout: Duration::from_secs(5) };
        Attempt { request, start_after: Duration::from_millis(start_after) }
    }

    fn relay(n: u8) -> RelayAddress {
        let relay = kaspath_domain::PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity");
        RelayAddress { relay, via: TransportAddress::tcp(([203, 0, 113, n], 4001).into()) }
    }

    #[test]
    fn all_stages_begin_at_once_and_no_circuit_is_asked_for_twice() {
        let direct = |n| Route::Direct(TransportAddress::tcp(([192, 0, 2, n], 1).into()));
        let punched = Route::Punched { relay: relay(1), transports: TransportSet::ALL };
        let stage = |attempts: &[(Route, u64)]| Stage {
            attempts: attempts.iter().map(|(route, start_after)| attempt(route.clone(), *start_after)).collect(),
        };
        let stages = vec![
            stage(&[(direct(1), 0), (direct(2), 250)]),
            stage(&[(punched.clone(), 0)]),
            stage(&[(Route::Relayed(relay(1)), 0), (Route::Relayed(relay(2)), 500)]),
        ];
        let plan = at_once(DialPlan { stages });
        let routes: Vec<_> = plan.stages[0].attempts.iter().map(|attempt| attempt.request.route.clone()).collect();
        assert_eq!(routes, [direct(1), punched, direct(2), Route::Relayed(relay(2))]);
        assert_eq!(plan.stages.len(), 1);
    }
}
