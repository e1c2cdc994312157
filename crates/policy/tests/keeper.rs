//! The keeper over sessions that last as long as they are told to, in virtual time.

use std::{cell::RefCell, time::Duration};

use kaspath_domain::MonotonicClock;
use kaspath_policy::{Keeper, KeeperEvent};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_session_is_begun_again_by_the_cadence_and_a_short_one_is_a_failure() {
    let (begin, begun, failed) = (Instant::now(), RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    // How long each lasts, the last first.
    let lasts = RefCell::new(vec![Some(60), Some(3), None, None]);
    let session = || async {
        begun.borrow_mut().push(begin.elapsed().as_secs());
        let Some(lasts) = lasts.borrow_mut().pop() else { return std::future::pending().await };
        sleep(Duration::from_secs(lasts.unwrap_or_default())).await;
        lasts.map(drop).ok_or_else(|| "nobody is there".to_owned())
    };
    let report = |event| match event {
        KeeperEvent::Failed { cause } => failed.borrow_mut().push(cause),
        KeeperEvent::Retrying { after } => assert!(after >= Duration::from_millis(500), "{after:?}"),
    };
    let keeper = Keeper::new(MonotonicClock::start(), || 0.5);
    let _ = timeout(Duration::from_secs(300), keeper.keep(session, report)).await;
    // After 1 s, 2 s, then 3 s of session and 5 s more; a long one begins again after 1 s.
    assert_eq!(*begun.borrow(), [0, 1, 3, 11, 72]);
    assert_eq!(*failed.borrow(), ["nobody is there"; 2]);
}
