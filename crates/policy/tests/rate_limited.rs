//! A connector behind limits, in virtual time.

use std::{sync::Arc, time::Duration};

use kaspath_domain::{
    AttemptOutcome, ConnectorError, DialError, MonotonicClock, Observer, PeerConnector, PeerIdentity, PeerLocator, PeerTarget,
    PolicyError, Route,
    memory::AdmitAll,
    ports::{MockAdmissionPolicy, MockPeerConnector},
};
use kaspath_policy::{DialLimitsConfig, RateLimited, SharedLimits};
use tokio::time::advance;

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn circuit(relay: u8) -> PeerLocator {
    format!("/ip4/203.0.113.{relay}/tcp/4001/p2p/{}/p2p-circuit/p2p/{}", peer(relay), peer(1)).parse().unwrap()
}

fn target(relays: &[u8]) -> PeerTarget {
    PeerTarget { peer: Some(peer(1)), addresses: relays.iter().map(|relay| circuit(*relay)).collect() }
}

fn limits() -> Arc<SharedLimits> {
    Arc::new(SharedLimits::new(DialLimitsConfig::default(), MonotonicClock::start()))
}

/// The relay could not be reached.
fn gone(relay: u8) -> AttemptOutcome {
    let kaspath_domain::PeerAddress::Relayed(address) = circuit(relay).address else { unreachable!() };
    let result = Err(DialError::RelayUnreachable { relay: peer(relay), cause: "gone".into() });
    AttemptOutcome { peer: Some(peer(1)), route: Route::Relayed(address), result, elapsed: Duration::ZERO }
}

fn fails_by(relays: &'static [u8], error: ConnectorError) -> MockPeerConnector {
    let mut inner = MockPeerConnector::new();
    inner.expect_connect().withf(|asked| *asked == target(relays)).returning(move |_| Err(error.clone()));
    inner
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_reached_is_left_alone_for_longer_each_time() {
    let connector = RateLimited::new(fails_by(&[8], ConnectorError::AllFailed(vec![])), limits(), Arc::new(AdmitAll));
    let mut refused = Vec::new();
    for _ in 0..4 {
        match connector.connect(&target(&[8])).await {
            Err(ConnectorError::BackOff(left)) => {
                refused.push(left.as_secs());
                advance(left).await;
            }
            other => assert_eq!(other.unwrap_err(), ConnectorError::AllFailed(vec![])),
        }
    }
    assert_eq!(refused, [1], "the first failure costs nothing, the second a second");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_failed_is_left_out_while_there_is_another() {
    let limits = limits();
    limits.observe(&gone(8));
    let connector = RateLimited::new(fails_by(&[9], ConnectorError::AllFailed(vec![])), limits.clone(), Arc::new(AdmitAll));
    assert_eq!(connector.connect(&target(&[8, 9])).await.unwrap_err(), ConnectorError::AllFailed(vec![]));
    limits.observe(&gone(9));
    let error = connector.connect(&target(&[8, 9])).await.unwrap_err();
    assert_eq!(error, ConnectorError::BackOff(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_wants_a_relay_is_told_when_there_is_one_again() {
    let limits = limits();
    limits.observe(&gone(8));
    let error = ConnectorError::NoPlan(PolicyError::NoUsableAddress { policy: "relay-only".into(), known: 1 });
    let mut inner = MockPeerConnector::new();
    inner.expect_connect().returning(move |_| Err(error.clone()));
    let connector = RateLimited::new(inner, limits, Arc::new(AdmitAll));
    let mut target = target(&[8]);
    target.addresses.push(format!("/ip4/192.0.2.1/tcp/1/p2p/{}", peer(1)).parse().unwrap());
    assert_eq!(connector.connect(&target).await.unwrap_err(), ConnectorError::BackOff(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn all_peers_together_have_a_rate_and_a_banned_one_costs_none_of_it() {
    let mut inner = MockPeerConnector::new();
    inner.expect_connect().returning(|_| Err(ConnectorError::AllFailed(vec![])));
    let mut admission = MockAdmissionPolicy::new();
    admission.expect_is_banned().returning(|asked| *asked == peer(9));
    let connector = RateLimited::new(inner, limits(), Arc::new(admission));
    let at = |n: u8| PeerTarget { peer: Some(peer(n)), addresses: vec![] };
    for n in 100..132 {
        assert_eq!(connector.connect(&at(9)).await.unwrap_err(), ConnectorError::Banned);
        assert_eq!(connector.connect(&at(n)).await.unwrap_err(), ConnectorError::AllFailed(vec![]));
    }
    let error = connector.connect(&at(132)).await.unwrap_err();
    assert_eq!(error, ConnectorError::RateLimited(Duration::from_millis(250)));
    advance(Duration::from_millis(250)).await;
    assert_eq!(connector.connect(&at(132)).await.unwrap_err(), ConnectorError::AllFailed(vec![]));
}
