//! A browser, by WebDriver (W3C) and Chromium's own additions to it.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Within a host of the lab nobody else has it.
const PORT: u16 = 9515;
/// Time for the driver to listen.
const START: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(100);
/// Time for a command; the first starts the browser.
const COMMAND: Duration = Duration::from_secs(60);
/// A screenshot is some hundred kilobytes.
const MAX_ANSWER: usize = 64 << 20;

/// A browser with one window; ended with this.
pub(super) struct Browser {
    session: String,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(super) async fn start(chromedriver: &Path, chromium: &Path) -> Result<Self> {
        for program in [chromedriver, chromium] {
            ensure!(program.exists(), "there is no {}: install the packages chromium and chromium-driver", program.display());
        }
        let profile = tempfile::tempdir()?;
        let driver = Command::new(chromedriver)
            .arg(format!("--port={PORT}"))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start chromedriver")?;
        let deadline = Instant::now() + START;
        while let Err(error) = TcpStream::connect(("127.0.0.1", PORT)).await {
            if Instant::now() > deadline {
                return Err(error).context("chromedriver does not listen");
            }
            sleep(RETRY).await;
        }
        let data = format!("--user-data-dir={}", profile.path().join("data").display());
        // The sandbox needs another user than root; the rest keeps the browser from asking its maker.
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &data,
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": chromium, "args": flags },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let started = call("POST", "/session", &capabilities).await?;
        let session = started["sessionId"].as_str().context("chromedriver gave no session")?.to_owned();
        Ok(Self { session, _driver: driver, _profile: profile })
    }

    pub(super) async fn open(&mut self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).await.map(drop)
    }

    /// Runs a function's body in the page; what it returns.
    pub(super) async fn run(&mut self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Gives the page a window of that width and height.
    pub(super) async fn size(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// Has the reader prefer light or dark colours.
    pub(super) async fn scheme(&mut self, scheme: &str) -> Result<()> {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// The page's top as a PNG of that width and height.
    pub(super) async fn picture(&mut self, [width, height]: [u32; 2]) -> Result<Vec<u8>> {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let picture = self.devtools("Page.captureScreenshot", json!({ "clip": clip, "captureBeyondViewport": true })).await?;
        Ok(BASE64_STANDARD.decode(picture["data"].as_str().context("no picture")?)?)
    }

    /// What has come to a log since the last call.
    pub(super) async fn log(&mut self, kind: &str) -> Result<Vec<Value>> {
        let entries = self.command("se/log", &json!({ "type": kind })).await?;
        Ok(entries.as_array().context("no log")?.clone())
    }

    async fn devtools(&mut self, command: &str, parameters: Value) -> Result<Value> {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    async fn command(&mut self, command: &str, parameters: &Value) -> Result<Value> {
        call("POST", &format!("/session/{}/{command}", self.session), parameters).await.with_context(|| command.to_owned())
    }
}

async fn call(method: &str, path: &str, parameters: &Value) -> Result<Value> {
    let answer = timeout(COMMAND, exchange(method, path, &parameters.to_string())).await.context("no answer in time")??;
    let mut answer: Value = serde_json::from_slice(&answer)?;
    let value = answer["value"].take();
    if let Some(error) = value["error"].as_str() {
        bail!("{error}: {}", value["message"].as_str().unwrap_or_default());
    }
    Ok(value)
}

/// One request on a connection of its own; the answer's body.
async fn exchange(method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", PORT)).await?);
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut length = None;
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "chromedriver closed the connection");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|length| *length <= MAX_ANSWER).context("an answer without a length")?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
