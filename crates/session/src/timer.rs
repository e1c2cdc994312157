use std::{future::Future, pin::Pin, task::Context};

use kaspath_domain::Moment;
use tokio::time::{Instant, Sleep, sleep};

/// Wakes a task at a moment that may change with each poll.
#[derive(Default)]
pub(crate) struct Timer(Option<(Moment, Pin<Box<Sleep>>)>);

impl Timer {
    /// Has the task woken at that moment, and not at an earlier one.
    pub(crate) fn wake_at(&mut self, at: Option<Moment>, now: Moment, cx: &mut Context<'_>) {
        let Some(at) = at else {
            self.0 = None;
            return;
        };
        let (set, timer) = self.0.get_or_insert_with(|| (at, Box::pin(sleep(at.since(now)))));
        // A busy task polls thousands of times before its moment changes.
        if *set != at {
            timer.as_mut().reset(Instant::now() + at.since(now));
            *set = at;
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}
