//! The program as a process, and the events that it prints.

// Each test file uses what it needs of this.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn kaspath(args: &[&str], appdir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaspath"));
    // Not at the end: what follows `--` is another program's.
    command.arg(args[0]).arg("--appdir").arg(appdir).args(&args[1..]).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LIBP2P_") || name == "RUST_LOG") {
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
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
