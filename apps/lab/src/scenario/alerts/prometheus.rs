//! A real Prometheus in one of the lab's hosts.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::scale::scaled;
use crate::{
    net::Host,
    process::Program,
    scenario::{cast::strings, http},
};

/// Several may be on a host.
const FIRST_PORT: u16 = 9_400;
const START: Duration = Duration::from_secs(20);
/// Time for a series that is waited for.
const WAIT: Duration = Duration::from_secs(60);
/// Between two polls; it scrapes and evaluates each second.
const POLL: Duration = Duration::from_millis(200);

static STARTED: AtomicU16 = AtomicU16::new(0);

/// A program on the same host that is scraped.
pub(super) struct Target {
    /// Its label.
    pub(super) instance: &'static str,
    /// The port of its `/metrics`, on loopback.
    pub(super) port: u16,
}

pub(super) struct Prometheus {
    namespace: String,
    /// On its host's loopback.
    address: SocketAddr,
    program: Program,
}

impl Prometheus {
    /// Starts one for a program, with the rules of a folder, their times divided by `factor`.
    pub(super) async fn start(host: &Host, rules: &Path, factor: u32, dir: &Path, target: &Target) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + STARTED.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(dir)?;
        for file in rule_files(rules)? {
            let name = file.file_name().context("a rule file without a name")?;
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            fs::write(dir.join(name), scaled(&text, factor))?;
        }
        let config = dir.join("prometheus.yaml");
        fs::write(&config, configuration(target))?;
        let args = strings(&[
            &format!("--config.file={}", config.display()),
            &format!("--storage.tsdb.path={}", dir.join("data").display()),
            &format!("--web.listen-address={address}"),
            "--log.level=warn",
        ]);
        let log = dir.join("prometheus.log");
        let program = Program::start_logged("prometheus", host, Path::new("prometheus"), &args, &log)
            .context("install the package prometheus")?;
        let prometheus = Self { namespace: host.namespace.clone(), address, program };
        let deadline = Instant::now() + START;
        while let Err(error) = prometheus.get("/-/ready").await {
            prometheus.program.pid()?;
            if Instant::now() > deadline {
                bail!("Prometheus is not ready after {START:?}: {error:#}: {}", fs::read_to_string(&log)?);
            }
            sleep(POLL).await;
        }
        Ok(prometheus)
    }

    /// Whether this alert of a program is firing now.
    pub(super) async fn fires(&self, alert: &str, instance: &str) -> Result<bool> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/alerts").await?)?;
        let alerts = answer["data"]["alerts"].as_array().context("no list of alerts")?;
        let is_it = |found: &Value| found["labels"]["alertname"] == alert && found["labels"]["instance"] == instance;
        Ok(alerts.iter().any(|found| found["state"] == "firing" && is_it(found)))
    }

    /// Waits until this alert of a program fires, or until it does not any more.
    pub(super) async fn wait(&self, alert: &str, instance: &str, fires: bool, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.fires(alert, instance).await? != fires {
            if Instant::now() > deadline {
                bail!("{alert} of {instance} {} within {within:?}", if fires { "did not fire" } else { "did not clear" });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until a query gives a series.
    pub(super) async fn until(&self, query: &str) -> Result<()> {
        let deadline = Instant::now() + WAIT;
        while self.query(query).await?.is_empty() {
            if Instant::now() > deadline {
                bail!("within {WAIT:?} there is no {query}");
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until a program has been scraped.
    pub(super) async fn up(&self, instance: &str) -> Result<()> {
        self.until(&format!("up{{instance=\"{instance}\"}} == 1")).await
    }

    /// The value of a program's metric without labels, now.
    pub(super) async fn value(&self, metric: &str, instance: &str) -> Result<f64> {
        let series = self.query(&format!("{metric}{{instance=\"{instance}\"}}")).await?;
        let value = series.first().and_then(|series| series["value"][1].as_str());
        value.with_context(|| format!("{instance} has no {metric}"))?.parse().with_context(|| metric.to_owned())
    }

    /// The series that a query gives now.
    pub(super) async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self.get(&format!("/api/v1/query?query={}", percent_encoded(query))).await?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            _ => bail!("{query}: {answer}"),
        }
    }

    async fn get(&self, path: &str) -> Result<String> {
        http::get(&self.namespace, self.address, path).await
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.program.stop().await.map(drop)
    }
}

/// The files with rules in a folder.
pub(super) fn rule_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("no rules in {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    Ok(files)
}

fn configuration(Target { instance, port }: &Target) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['*.yml']\nscrape_configs:\n- job_name: kaspath\n  static_configs:\n  \
         - {{targets: ['127.0.0.1:{port}'], labels: {{instance: {instance}}}}}\n"
    )
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_its_meaning_in_a_url() {
        assert_eq!(percent_encoded("up{a=\"b c\"} + 1"), "up%7Ba%3D%22b%20c%22%7D%20%2B%201");
    }
}
