use std::{future::Future, pin::Pin, task::Context};

use kaspath_domain::Moment;
use tokio::time::{Sleep, sleep};

/// Wakes a task at a moment that may change with each poll.
#[derive(Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Has the task woken at that moment, and not at an earlier one.
    pub(crate) fn wake_at(&mut self, at: Option<Moment>, now: Moment, cx: &mut Context<'_>) {
        self.0 = at.map(|at| Box::pin(sleep(at.since(now))));
        if let Some(timer) = &mut self.0
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}
