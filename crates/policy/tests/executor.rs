//! The executor over mocked dialers, in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{
    Attempt, ConnectInfo, DialError, DialPlan, DialRequest, Direction, DuplexStream, MonotonicClock, Path, PathWatch,
    PeerLocator, PlanRequest, PolicyError, Route, Stage, StreamDialer, Transport, TransportAddress,
    memory::FixedPolicy,
    ports::{MockStreamDialer, MockTransportPolicy},
};
use kaspath_policy::{ExecuteError, Executor, PaceConfig, Paced};
use tokio::time::Instant;

fn route(port: u16) -> Route {
    Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], port).into()))
}

fn attempt(port: u16, start_after_ms: u64) -> Attempt {
    Attempt {
        request: DialRequest { peer: None, route: route(port), deadline: Duration::from_secs(5) },
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

fn executor(dialer: impl StreamDialer + 'static) -> Executor {
    Executor::new(Arc::new(FixedPolicy::default()), vec![Arc::new(dialer)], MonotonicClock::start())
}

fn plan(stages: &[&[Attempt]]) -> DialPlan {
    DialPlan { stages: stages.iter().map(|attempts| Stage { attempts: attempts.to_vec() }).collect() }
}

#[tokio::test(start_paused = true)]
async fn the_first_stream_wins_and_the_losers_are_cancelled() {
    let finished = Arc::new(AtomicUsize::new(0));
    let executor = executor(Ports { finished: finished.clone() });
    let begin = Instant::now();
    let (_stream, outcomes) = executor.run(plan(&[&[attempt(900, 0), attempt(200, 250)]])).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(450), "the second starts at 250 and takes 200");
    assert_eq!(outcomes.iter().map(|outcome| outcome.route.clone()).collect::<Vec<_>>(), [route(200)]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(finished.load(Ordering::SeqCst), 1, "the loser never finished");
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_attempt_at_once() {
    let executor = executor(Ports { finished: Arc::default() });
    let begin = Instant::now();
    let (_stream, outcomes) = executor.run(plan(&[&[attempt(10, 0), attempt(100, 5_000)]])).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(110));
    assert_eq!(outcomes[0].result, Err(refused(10)));
    assert_eq!(outcomes[1].elapsed, Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn stages_follow_one_another_and_all_failures_are_told() {
    let executor = executor(Ports { finished: Arc::default() });
    let error = executor.run(plan(&[&[attempt(10, 0), attempt(20, 0)], &[attempt(30, 0)]])).await.unwrap_err();
    let ExecuteError::AllFailed(outcomes) = &error else { panic!("{error}") };
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
    let executor = Executor::new(Arc::new(FixedPolicy::default()), dialers, MonotonicClock::start());
    executor.run(plan(&[&[attempt(1, 0)]])).await.unwrap();
}

#[tokio::test]
async fn a_route_that_nobody_serves_is_an_error() {
    let mut none = MockStreamDialer::new();
    none.expect_supports().return_const(false);
    let error = executor(none).run(plan(&[&[attempt(1, 0)]])).await.unwrap_err();
    assert!(error.to_string().contains("nothing here can dial /ip4/192.0.2.1/tcp/1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_overruns_its_deadline_is_left() {
    let error = executor(Stuck).run(plan(&[&[attempt(1, 0)]])).await.unwrap_err();
    assert!(error.to_string().contains("overran"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_policy_is_told_of_the_loser_and_how_long_it_had() {
    let mut policy = MockTransportPolicy::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    policy.expect_observe().returning(move |outcome, _| heard.lock().unwrap().push((outcome.result.clone(), outcome.elapsed)));
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(Ports { finished: Arc::default() })];
    let executor = Executor::new(Arc::new(policy), dialers, MonotonicClock::start());
    executor.run(plan(&[&[attempt(900, 0), attempt(200, 250)]])).await.unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(told[0], (Ok(_), elapsed) if elapsed == Duration::from_millis(200)), "{told:?}");
    assert_eq!(told[1], (Err(DialError::Overtaken), Duration::from_millis(450)));
    assert_eq!(told.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_at_its_rate_plans_again_when_that_much_time_has_passed() {
    let pace = PaceConfig { burst: 1, every: Duration::from_secs(60), ..PaceConfig::default() };
    let policy = Paced::new(Arc::new(FixedPolicy { plan: plan(&[&[attempt(100, 0)]]) }), pace);
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(Ports { finished: Arc::default() })];
    let executor = Executor::new(Arc::new(policy), dialers, MonotonicClock::start());
    let request = PlanRequest::default();
    executor.reach(&request).await.unwrap();
    let again = executor.reach(&request).await.map(drop);
    let Err(ExecuteError::Policy(PolicyError::CoolingDown(left))) = again else { panic!("{again:?}") };
    assert!(left > Duration::from_secs(59) && left < Duration::from_secs(60), "{left:?}");
    tokio::time::advance(left + Duration::from_millis(1)).await;
    executor.reach(&request).await.unwrap();
}
