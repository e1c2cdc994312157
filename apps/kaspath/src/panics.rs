//! A panic anywhere ends the program: one line says so, and the rest is shut down
//! properly, for a kaspad may be running.
//!
//! Without this a panic in a task or thread would end only that one, and leave a
//! program that looks alive and does nothing.

use std::{
    cell::Cell,
    panic::PanicHookInfo,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kaspath_domain::clean;
use tokio::sync::Notify;

use crate::{exit, output};

/// Bytes of a panic's message that are printed.
const MAX_MESSAGE: usize = 400;
/// Time for the orderly end, kaspad's included. A panic may have left anything
/// behind, so the process does not rely on it.
const PATIENCE: Duration = Duration::from_secs(150);

static HAPPENED: AtomicBool = AtomicBool::new(false);
static NOTIFY: Notify = Notify::const_new();

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook. Panics of all threads and tasks come to it.
pub(crate) fn watch() {
    std::panic::set_hook(Box::new(report));
}

/// Runs work that catches its own panics: they end nothing.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> T {
    let before = CAUGHT.replace(true);
    let result = work();
    CAUGHT.set(before);
    result
}

/// Whether there was a panic.
pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::SeqCst)
}

/// Returns when there is a panic, or was one.
pub(crate) async fn panicked() {
    let mut notified = std::pin::pin!(NOTIFY.notified());
    // Enabled before the flag is read, so that no panic falls between the two.
    notified.as_mut().enable();
    if !happened() {
        notified.await;
    }
}

fn report(info: &PanicHookInfo<'_>) {
    if CAUGHT.get() {
        return;
    }
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = info.location().map(|location| format!("{}:{}", location.file(), location.line())).unwrap_or_default();
    let message = clean(message.unwrap_or("no message"), MAX_MESSAGE);
    let first = !HAPPENED.swap(true, Ordering::SeqCst);
    if first {
        output::internal_error(&message, &location);
        let _ = std::thread::Builder::new().name("last resort".to_owned()).spawn(|| {
            std::thread::sleep(PATIENCE);
            std::process::exit(i32::from(exit::INTERNAL));
        });
    }
    NOTIFY.notify_waiters();
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Not a test by itself: the next one runs it in its own process.
    #[test]
    #[ignore = "run by another test"]
    fn a_program_with_a_task_that_panics() {
        watch();
        caught(|| std::panic::catch_unwind(|| panic!("redb says so")).unwrap_err());
        assert!(!happened());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let signal = runtime.block_on(async {
            tokio::spawn(async { panic!("a \x1b[31mstranger's\nwords") });
            crate::signals::stop_requested().await.unwrap()
        });
        assert_eq!(signal, nix::sys::signal::Signal::SIGTERM);
        output::flush();
        std::process::exit(i32::from(crate::exit_status(0)));
    }

    #[test]
    fn a_panic_in_a_task_stops_the_program_with_one_clean_line_and_code_70() {
        let args = ["--exact", "--ignored", "--nocapture", "panics::tests::a_program_with_a_task_that_panics"];
        let output = Command::new(std::env::current_exe().unwrap()).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("internal error")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].contains("a [31mstranger's words") && lines[0].contains("panics.rs:"), "{text}");
        assert!(!text.contains('\x1b') && !text.contains("redb says so"), "{text}");
    }
}
