//! Opens a status page and prints what it shows.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use kaspath_domain::wall_clock;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::driver::Browser;
use crate::cli::BrowseArgs;

/// How often the page is read.
const READ: Duration = Duration::from_millis(50);
/// A wide window and a phone's.
const WIDE: [u32; 2] = [1280, 800];
const PHONE: [u32; 2] = [390, 844];
/// Pixels of a screenshot, from the page's top.
const MAX_HEIGHT: [u32; 2] = [1500, 1800];
/// Time for a layout to settle.
const LAYOUT: Duration = Duration::from_millis(400);

/// What is read of the page: what a person sees of it.
const SHOWN: &str = r##"
    const rows = (id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => row.innerText.replace(/\s+/g, " ").trim());
    return { connection: document.getElementById("connection").innerText, peers: rows("peers"), moves: rows("moves") };
"##;

/// Prints the page at each change; once it shows a direct path it is measured in both
/// sizes, and a report follows.
pub(crate) async fn browse(args: &BrowseArgs) -> Result<()> {
    let mut browser = Browser::start(&args.chromedriver, &args.chromium).await?;
    browser.size(WIDE).await?;
    // What the browser's own first page asks for is not this page's.
    browser.open("about:blank").await?;
    browser.log("performance").await?;
    browser.open(&args.url).await?;
    let (mut last, mut reported) = (Value::Null, false);
    loop {
        let shown = browser.run(SHOWN).await?;
        if shown != last {
            let mut event = shown.clone();
            event["event"] = json!("page");
            event["time"] = json!(wall_clock().since_epoch().as_secs_f64());
            println!("{event}");
            last = shown;
        }
        if !reported && last["moves"].as_array().is_some_and(|moves| !moves.is_empty()) {
            reported = true;
            println!("{}", report(&mut browser, args).await?);
        }
        sleep(READ).await;
    }
}

async fn report(browser: &mut Browser, args: &BrowseArgs) -> Result<Value> {
    let mut widths = Vec::new();
    for (name, size, most, scheme) in [("wide", WIDE, MAX_HEIGHT[0], "light"), ("phone", PHONE, MAX_HEIGHT[1], "dark")] {
        browser.size(size).await?;
        browser.scheme(scheme).await?;
        sleep(LAYOUT).await;
        let measured = browser
            .run("const { scrollWidth, scrollHeight } = document.documentElement; return [scrollWidth, scrollHeight];")
            .await?;
        widths.push(json!({ "window": size[0], "page": measured[0] }));
        if let Some(dir) = &args.screenshots {
            let height = measured[1].as_u64().and_then(|height| u32::try_from(height).ok()).context("the page's height")?;
            let picture = browser.picture([size[0], height.clamp(size[1], most)]).await?;
            save(dir, name, &picture)?;
        }
    }
    browser.size(WIDE).await?;
    browser.scheme("light").await?;
    let console = browser.log("browser").await?;
    let requests = requests(&browser.log("performance").await?);
    let elsewhere: Vec<&String> =
        requests.iter().filter(|url| !url.starts_with(&args.url) && !url.starts_with("data:")).collect();
    Ok(json!({ "event": "report", "console": console, "requests": requests.len(), "elsewhere": elsewhere, "widths": widths }))
}

fn save(dir: &Path, name: &str, picture: &[u8]) -> Result<()> {
    fs::create_dir_all(dir)?;
    Ok(fs::write(dir.join(format!("status-{name}.png")), picture)?)
}

/// The addresses of all requests that the page made.
fn requests(log: &[Value]) -> Vec<String> {
    let messages = log.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
    let urls = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
    urls.filter_map(|message| Some(message["message"]["params"]["request"]["url"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_in_the_log() {
        let entry = |method: &str, url: &str| {
            let message = json!({ "message": { "method": method, "params": { "request": { "url": url } } } });
            json!({ "level": "INFO", "message": message.to_string() })
        };
        let log = [
            entry("Network.requestWillBeSent", "http://x/"),
            entry("Page.loadEventFired", "http://y/"),
            json!({ "message": "no JSON" }),
        ];
        assert_eq!(requests(&log), ["http://x/"]);
    }
}
