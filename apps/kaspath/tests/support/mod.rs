//! The program as a process, and the events that it prints.

// Each test file uses what it needs of this.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn kaspath(args: &[&str], appdir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaspath"));
    // Not at the end: what follows `--` is another program's.
    command.arg(args[0]).arg("--appdir").arg(appdir).args(&args[1..]).stdin(Stdio::null());
    let ours = |name: &str| name.starts_with("LIBP2P_") || ["RUST_LOG", "KASPATH_LOG", "JOURNAL_STREAM"].contains(&name);
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

/// Sends a signal by the system's tool: the standard library only knows SIGKILL.
pub(crate) fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// A running kaspath; ended with the test.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str], appdir: &Path) -> Self {
        Self::run(kaspath(args, appdir))
    }

    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            if wanted(&event) {
                return event;
            }
            seen.push(line);
        }
        panic!("{what} did not come; instead:\n{}", seen.join("\n"));
    }

    /// Waits for both, of which either may be told first.
    pub(crate) fn wait_for_both(&self, what: &str, one: impl Fn(&Value) -> bool, other: impl Fn(&Value) -> bool) -> [Value; 2] {
        let found = std::cell::RefCell::new([Value::Null, Value::Null]);
        self.wait_for(what, |event| {
            let mut found = found.borrow_mut();
            for (at, is_wanted) in [one(event), other(event)].into_iter().enumerate() {
                if is_wanted {
                    found[at] = event.clone();
                }
            }
            found.iter().all(|event| !event.is_null())
        });
        found.into_inner()
    }

    pub(crate) fn wait_event(&self, name: &str) -> Value {
        self.wait_for(name, |event| event["event"] == name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(self) -> i32 {
        signal("TERM", self.child.id());
        self.ended()
    }

    /// Its exit code.
    pub(crate) fn ended(mut self) -> i32 {
        exit_code(&mut self.child)
    }
}

/// The exit code of a program that ends.
pub(crate) fn ended(mut child: Child) -> i32 {
    exit_code(&mut child)
}

fn exit_code(child: &mut Child) -> i32 {
    let mut status = None;
    let end = Instant::now() + DEADLINE;
    while status.is_none() {
        status = child.try_wait().unwrap();
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end");
        }
        std::thread::yield_now();
    }
    status.and_then(|status| status.code()).unwrap_or(-1)
}

/// Whether a program watches for SIGTERM, which it does once it has started.
pub(crate) fn handles_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << 14) != 0
}

/// A port of 127.0.0.1 that nobody has, outside the range from which the system gives
/// ports to others meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let candidate = || 20_000 + (std::process::id().wrapping_mul(31) / 2 + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
    std::iter::repeat_with(|| u16::try_from(candidate()).unwrap())
        .take(5_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Waits for a condition, with the deadline of all tests.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
