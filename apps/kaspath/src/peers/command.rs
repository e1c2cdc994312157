//! `kaspath peers`.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{AddressSource, PeerIdentity, PeerRecord, Timestamp};
use kaspath_peer_store::PeerStore;

use super::LIMIT;
use crate::{cli::PeersCommand, node::now, output, panics};

/// Answers, with addresses hidden if asked.
pub(crate) fn run(book: &Path, what: &PeersCommand, redacted: bool) -> Result<()> {
    let say = |text: String| output::answer(&format!("{text}\n"), redacted);
    if !book.exists() && !matches!(what, PeersCommand::Import { .. } | PeersCommand::Ban { .. }) {
        bail!("there is no peer book at {}: a node makes it; give its --appdir", book.display());
    }
    let (store, aside) = panics::caught(|| PeerStore::open(book, LIMIT))?;
    if let Some(aside) = aside {
        output::remark(&format!("warning: {aside}"));
    }
    match what {
        PeersCommand::List => {
            let head = format!("{:<54}{:>12}{:>9}{:>9}  banned", "peer", "seen", "reached", "failed");
            let lines = store.all().iter().map(|record| line(record, now())).collect::<Vec<_>>();
            say([vec![head], lines].concat().join("\n"))?;
        }
        PeersCommand::Show { peer } => say(serde_json::to_string_pretty(&known(&store, peer)?)?)?,
        PeersCommand::Ban { peer, time } => {
            let until = now() + time.map_or(Duration::from_secs(24 * 3600), |span| span.0);
            store.update(peer, now(), |record| record.banned_until = Some(until))?;
            say(format!("{peer} is banned for {}", ago(until.since(now()))))?;
        }
        PeersCommand::Unban { peer } => {
            if known(&store, peer)?.banned_until.is_none() {
                bail!("{peer} is not banned");
            }
            store.update(peer, now(), |record| record.banned_until = None)?;
            say(format!("{peer} is not banned any more"))?;
        }
        PeersCommand::Forget { peer } => {
            known(&store, peer)?;
            store.remove(peer);
            say(format!("{peer} is forgotten"))?;
        }
        PeersCommand::Export => say(serde_json::to_string_pretty(&store.all())?)?,
        PeersCommand::Import { file } => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let mut records: Vec<PeerRecord> =
                serde_json::from_str(&text).with_context(|| format!("{} is no exported peer book", file.display()))?;
            // The stalest first, so that they are what a full book forgets.
            records.reverse();
            let count = records.len();
            for new in records {
                store.update(&new.peer.clone(), new.last_seen, |record| merge(record, new))?;
            }
            say(format!("{count} peers taken over"))?;
        }
    }
    store.flush()?;
    Ok(())
}

fn known(store: &PeerStore, peer: &PeerIdentity) -> Result<PeerRecord> {
    store.find(peer).with_context(|| format!("{peer} is not in the book; `kaspath peers list` names those that are"))
}

/// Joins what two books know of a peer.
fn merge(record: &mut PeerRecord, new: PeerRecord) {
    record.first_seen = record.first_seen.min(new.first_seen);
    record.successes = record.successes.max(new.successes);
    record.failures = record.failures.max(new.failures);
    record.rtt = record.rtt.or(new.rtt);
    record.banned_until = record.banned_until.max(new.banned_until);
    record.synthetic = record.synthetic.or(new.synthetic);
    record.relayed.carried = record.relayed.carried.max(new.relayed.carried);
    record.relayed.failed = record.relayed.failed.max(new.relayed.failed);
    for address in new.addresses {
        record.observe(address);
    }
    for id in new.kaspa_ids {
        record.note_kaspa_id(&id.id, id.first_seen);
    }
}

fn line(record: &PeerRecord, now: Timestamp) -> String {
    let PeerRecord { peer, last_seen, successes, failures, .. } = record;
    let banned = match record.banned_until {
        Some(until) if record.is_banned(now) => format!("for {}", ago(until.since(now))),
        _ => String::new(),
    };
    let seen = format!("{} ago", ago(now.since(*last_seen)));
    let last = record.addresses.last().map(|address| {
        let source = match &address.source {
            AddressSource::Manual => "told",
            AddressSource::Identify { .. } => "reached",
            AddressSource::Inbound => "came from",
            AddressSource::Gossip => "gossip",
        };
        format!("\n    {source} {}", address.locator)
    });
    format!("{:<54}{seen:>12}{successes:>9}{failures:>9}  {banned}{}", peer.to_string(), last.unwrap_or_default())
}

/// A time in its largest unit.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
