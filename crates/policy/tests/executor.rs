//! The executor over mocked dialers, in virtual time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{
    Attempt, AttemptOutcome, ConnectInfo, ConnectorError, DialError, DialPlan, DialRequest, Direction, DuplexStream,
    MonotonicClock, Observers, Path, PathWatch, PeerConnector, PeerLocator, PeerTarget, Route, Stage, StreamDialer, Transport,
    TransportAddress,
    ports::{MockStreamDialer, MockTransportPolicy},
};
use kaspath_policy::Executor;
use tokio::time::Instant;

fn route(port: u16) -> Route {
    Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], port).into()))
}

fn attempt(port: u16, start_after_ms: u64) -> Attempt {
    Attempt {
        request: DialRequest { peer: None, route: route(port), timeout: Duration::from_secs(5) },
        start_after: Duration::from_millis(start_after_ms),
    }
}

fn stream() -> DuplexStream {
    let remote: PeerLocator = "192.0.2.1:1".parse().unwrap();
    let info = ConnectInfo { peer: None, direction: Direction::Outbound, remote, synthetic: ([192, 0, 2, 1], 1).into() };
    DuplexStream::new(tokio::io::empty(), info, PathWatch::fixed(Path::Direct { transport: Transport::Tcp }))
}

fn refused(port: u16) -> DialError {
    DialError::Unreachable { address: port.to_string(), cause: "refused".into() }
}

/// A port below 100 refuses after that many milliseconds, one above connects after them.
struct Ports {
    finished: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl StreamDialer for Ports {
    fn supports(&self, _request: &DialRequest) -> bool {
        true
    }

    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError> {
        let Route::Direct(address) = request.route else { panic!("direct routes only") };
        tokio::time::sleep(Duration::from_millis(address.port.into())).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        if address.port < 100 { Err(refused(address.port)) } else { Ok(stream()) }
    }
}

/// Never answers, whatever the deadline.
struct Stuck;

#[async_trait::async_trait]
impl StreamDialer for Stuck {
    fn supports(&self, _request: &DialRequest) -> bool {
        true
    }

    async fn dial(&self, _request: DialRequest) -> Result<DuplexStream, DialError> {
        std::future::pending().await
    }
}

fn plan(stages: &[&[Attempt]]) -> DialPlan {
    DialPlan { stages: stages.iter().map(|attempts| Stage { attempts: attempts.to_vec() }).collect() }
}

/// A policy that always makes the same plan.
fn planning(stages: &[&[Attempt]]) -> Arc<MockTransportPolicy> {
    let (mut policy, plan) = (MockTransportPolicy::new(), plan(stages));
    policy.expect_plan().returning(move |_, _| Ok(plan.clone()));
    policy.expect_observe().return_const(());
    Arc::new(policy)
}

fn executor(dialer: impl StreamDialer + 'static, stages: &[&[Attempt]]) -> Executor {
    Executor::new(planning(stages), vec![Arc::new(dialer)], MonotonicClock::start())
}

/// Connects, whoever the peer; the outcomes as an observer is told of them.
async fn connect(executor: Executor) -> (Result<DuplexStream, ConnectorError>, Vec<AttemptOutcome>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let observer = move |outcome: &AttemptOutcome| heard.lock().unwrap().push(outcome.clone());
    let executor = executor.with_observers(Observers::of(Arc::new(observer)));
    let connected = executor.connect(&PeerTarget::default()).await;
    let told = told.lock().unwrap().clone();
    (connected, told)
}

#[tokio::test(start_paused = true)]
async fn the_first_stream_wins_and_the_losers_are_cancelled() {
    let finished = Arc::new(AtomicUsize::new(0));
    let executor = executor(Ports { finished: finished.clone() }, &[&[attempt(900, 0), attempt(200, 250)]]);
    let begin = Instant::now();
    let (connected, outcomes) = connect(executor).await;
    connected.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(450), "the second starts at 250 and takes 200");
    let results: Vec<_> = outcomes.iter().map(|outcome| (outcome.route.clone(), outcome.result.is_ok())).collect();
    assert_eq!(results, [(route(200), true), (route(900), false)]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(finished.load(Ordering::SeqCst), 1, "the loser never finished");
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_attempt_at_once() {
    let executor = executor(Ports { finished: Arc::default() }, &[&[attempt(10, 0), attempt(100, 5_000)]]);
    let begin = Instant::now();
    let (connected, outcomes) = connect(executor).await;
    connected.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(110));
    assert_eq!(outcomes[0].result, Err(refused(10)));
    assert_eq!(outcomes[1].elapsed, Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn stages_follow_one_another_and_all_failures_are_told() {
    let stages: [&[Attempt]; 2] = [&[attempt(10, 0), attempt(20, 0)], &[attempt(30, 0)]];
    let executor = executor(Ports { finished: Arc::default() }, &stages);
    let error = executor.connect(&PeerTarget::default()).await.unwrap_err();
    let ConnectorError::AllFailed(outcomes) = &error else { panic!("{error}") };
    assert_eq!(outcomes.len(), 3);
    assert!(error.to_string().contains("/tcp/30: 30 cannot be reached: refused"), "{error}");
}

#[tokio::test]
async fn a_route_goes_to_the_dialer_that_serves_it() {
    let mut tcp = MockStreamDialer::new();
    tcp.expect_supports().return_const(false);
    tcp.expect_dial().never();
    let mut other = MockStreamDialer::new();
    other.expect_supports().return_const(true);
    other.expect_dial().times(1).returning(|_| Ok(stream()));
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(tcp), Arc::new(other)];
    let executor = Executor::new(planning(&[&[attempt(1, 0)]]), dialers, MonotonicClock::start());
    executor.connect(&PeerTarget::default()).await.unwrap();
}

#[tokio::test]
async fn a_route_that_nobody_serves_is_an_error() {
    let mut none = MockStreamDialer::new();
    none.expect_supports().return_const(false);
    let error = connect(executor(none, &[&[attempt(1, 0)]])).await.0.unwrap_err();
    assert!(error.to_string().contains("nothing here can dial /ip4/192.0.2.1/tcp/1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_overruns_its_deadline_is_left() {
    let error = connect(executor(Stuck, &[&[attempt(1, 0)]])).await.0.unwrap_err();
    assert!(error.to_string().contains("overran"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_policy_is_told_of_the_loser_and_how_long_it_had() {
    let mut policy = MockTransportPolicy::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let plan = plan(&[&[attempt(900, 0), attempt(200, 250)]]);
    policy.expect_plan().returning(move |_, _| Ok(plan.clone()));
    policy.expect_observe().returning(move |_, outcome, _| heard.lock().unwrap().push((outcome.result.clone(), outcome.elapsed)));
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(Ports { finished: Arc::default() })];
    Executor::new(Arc::new(policy), dialers, MonotonicClock::start()).connect(&PeerTarget::default()).await.unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(told[0], (Ok(_), elapsed) if elapsed == Duration::from_millis(200)), "{told:?}");
    assert_eq!(told[1], (Err(DialError::Overtaken), Duration::from_millis(450)));
    assert_eq!(told.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_replaced_plans_no_more() {
    let executor = executor(Ports { finished: Arc::default() }, &[&[attempt(100, 0)]]);
    executor.connect(&PeerTarget::default()).await.unwrap();
    executor.set_policy(planning(&[&[attempt(10, 0)]]));
    let error = executor.connect(&PeerTarget::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "no way to the peer works: /ip4/192.0.2.1/tcp/10: 10 cannot be reached: refused");
}
