//! A program that is ended and started again.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Program;

/// One program after another under the same name, and what all of them have reported.
pub(crate) struct Restartable {
    name: &'static str,
    running: Option<Program>,
    events: Vec<Value>,
}

impl Restartable {
    pub(crate) fn new(program: Program) -> Self {
        Self { name: program.name, running: Some(program), events: Vec::new() }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn started(&mut self, program: Program) {
        self.running = Some(program);
    }

    /// The one that runs.
    pub(crate) fn program(&mut self) -> Result<&mut Program> {
        self.running.as_mut().with_context(|| format!("{} does not run", self.name))
    }

    fn take(&mut self) -> Result<Program> {
        self.running.take().with_context(|| format!("{} does not run", self.name))
    }

    /// Ends it by SIGKILL; the kernel closes its sockets.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let program = self.take()?;
        self.events.extend(program.kill().await?);
        Ok(())
    }

    /// Waits until it has ended, in order.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        let program = self.take()?;
        self.events.extend(program.ended().await?);
        Ok(())
    }

    /// Ends it in order, if it runs; what all have reported.
    pub(crate) async fn stop(&mut self) -> Result<&[Value]> {
        if let Some(program) = self.running.take() {
            self.events.extend(program.stop().await?);
        }
        Ok(&self.events)
    }
}
