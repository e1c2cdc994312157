//! What a run leaves behind: events, timings and counters, without identities.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kaspath_domain::wall_clock;
use serde_json::{Value, json};

/// A folder of evidence.
pub(crate) struct Evidence {
    dir: PathBuf,
    /// Peer ids and what they are called instead.
    names: Vec<(String, String)>,
    begin: f64,
}

impl Evidence {
    pub(crate) fn create(parent: &Path, name: &str) -> Result<Self> {
        let now = wall_clock().since_epoch().as_secs_f64();
        let dir = parent.join(format!("{name}-{}", now as u64));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make the evidence folder {}", dir.display()))?;
        Ok(Self { dir, names: Vec::new(), begin: now })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a peer id as a name from now on.
    pub(crate) fn name(&mut self, peer: &str, name: &str) {
        self.names.push((peer.to_owned(), name.to_owned()));
    }

    /// A program's events, one a line, with times since the run's begin.
    pub(crate) fn events(&self, name: &str, events: &[Value]) -> Result<()> {
        let mut file = fs::File::create(self.dir.join(format!("{name}.jsonl")))?;
        for event in events {
            let mut event = event.clone();
            let time = event["time"].as_f64();
            if let (Some(object), Some(time)) = (event.as_object_mut(), time) {
                object.insert("time".into(), json!(((time - self.begin) * 1e6).round() / 1e6));
            }
            writeln!(file, "{}", self.sanitize(&event.to_string()))?;
        }
        Ok(())
    }

    /// A summary for programs and one for people.
    pub(crate) fn summary(&self, summary: &Value) -> Result<()> {
        let text = self.sanitize(&serde_json::to_string_pretty(summary)?);
        fs::write(self.dir.join("summary.json"), text + "\n")?;
        Ok(())
    }

    pub(crate) fn table(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.dir.join(name), self.sanitize(text))?;
        Ok(())
    }

    /// Addresses are the lab's own, of documentation and private ranges; what
    /// would tell runs or people apart are the peer ids.
    fn sanitize(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (peer, name)| text.replace(peer, name))
    }
}
