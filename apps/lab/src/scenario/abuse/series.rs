//! The series that a program under attack serves: whoever attacks it must add none.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::{Instant, interval};

use crate::{net::Host, scenario::http};

/// Prometheus' own default is a minute.
const SCRAPE: Duration = Duration::from_secs(1);
/// Of series that should not be there so many are named.
const NAMED: usize = 3;

/// What scrapes of one program showed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Scraped {
    pub(super) scrapes: usize,
    pub(super) series: usize,
    pub(super) slowest_seconds: f64,
    /// Some of the series that were not there at first.
    pub(super) added: Vec<String>,
    /// Why a scrape failed.
    pub(super) failed: Option<String>,
}

impl Scraped {
    fn note(&mut self, first: &BTreeSet<String>, now: BTreeSet<String>, took: Duration) {
        self.scrapes += 1;
        self.series = self.series.max(now.len());
        self.slowest_seconds = self.slowest_seconds.max(took.as_secs_f64());
        for name in now.difference(first) {
            if self.added.len() < NAMED && !self.added.contains(name) {
                self.added.push(name.clone());
            }
        }
    }

    /// What is wrong with it.
    pub(super) fn faults(&self, program: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(cause) = &self.failed {
            faults.push(format!("the {program} did not answer a scrape: {cause}"));
        }
        if !self.added.is_empty() {
            faults.push(format!("the {program} has new series: {}", self.added.join(", ")));
        }
        if self.scrapes < 2 {
            faults.push(format!("the {program} was scraped {} times, which proves nothing", self.scrapes));
        }
        faults
    }
}

/// Scrapes a program every second until it ends or is told to.
pub(super) struct Scraper {
    scraped: Arc<Mutex<Scraped>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scraper {
    /// The first scrape, before anybody attacks, says which series there are.
    pub(super) async fn start(host: &Host, port: u16) -> Result<Self> {
        let (namespace, address) = (host.namespace.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let first = names(&http::get(&namespace, address, "/metrics").await.context("no first scrape")?);
        let scraped = Arc::new(Mutex::new(Scraped::default()));
        let shared = scraped.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(SCRAPE);
            loop {
                ticks.tick().await;
                let begin = Instant::now();
                let answer = http::get(&namespace, address, "/metrics").await;
                let mut scraped = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    Ok(text) => scraped.note(&first, names(&text), begin.elapsed()),
                    Err(error) => scraped.failed = Some(format!("{error:#}")),
                }
            }
        });
        Ok(Self { scraped, task })
    }

    /// Ends it; what it saw.
    pub(super) fn stop(&self) -> Scraped {
        self.task.abort();
        self.scraped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The names and labels of a scrape's series.
fn names(text: &str) -> BTreeSet<String> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_comes_later_is_a_fault() {
        let first = names("# HELP a A.\na{b=\"c d\"} 1\nb 2.5\n");
        assert_eq!(first.iter().map(String::as_str).collect::<Vec<_>>(), ["a{b=\"c d\"}", "b"]);
        let mut scraped = Scraped::default();
        scraped.note(&first, names("a{b=\"c d\"} 9\nb 1\n"), Duration::from_millis(2));
        assert_eq!(scraped.faults("relay").len(), 1, "one scrape proves nothing");
        scraped.note(&first, names("a{b=\"c d\"} 9\nb 1\n"), Duration::from_millis(1));
        assert!(scraped.faults("relay").is_empty());
        scraped.note(&first, names("a{b=\"stranger\"} 1\nb 1\n"), Duration::from_millis(1));
        assert_eq!(scraped.faults("relay"), ["the relay has new series: a{b=\"stranger\"}"]);
    }
}
