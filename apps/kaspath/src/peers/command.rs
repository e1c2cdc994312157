//! `kaspath peers`.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{AddressSource, BanSource, PeerBook, PeerChange, PeerIdentity, PeerRecord, Timestamp};
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
            let time = time.map_or(Duration::from_secs(24 * 3600), |span| span.0);
            let now = now();
            store.update(peer, PeerChange::Ban { source: BanSource::Manual, until: now + time }, now)?;
            say(format!("{peer} is banned for {}", in_largest_unit(time)))?;
        }
        PeersCommand::Unban { peer } => {
            let record = known(&store, peer)?;
            if !store.update(peer, PeerChange::Unban { source: BanSource::Manual }, now())? {
                bail!("{peer} is not banned");
            }
            say(format!("{peer} is not banned any more"))?;
            if let (Some(_), Some(address)) = (record.kaspad_ban, record.loopback) {
                output::remark(&format!("kaspad itself may ban it still: its own `unban {address}` lifts that"));
            }
        }
        PeersCommand::Forget { peer } => {
            known(&store, peer)?;
            store.forget(peer);
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
            for record in records {
                let (peer, last_seen) = (record.peer.clone(), record.last_seen);
                store.update(&peer, PeerChange::Join(Box::new(record)), last_seen)?;
            }
            say(format!("{count} peers taken over"))?;
        }
    }
    store.flush()?;
    Ok(())
}

fn known(store: &PeerStore, peer: &PeerIdentity) -> Result<PeerRecord> {
    store.get(peer).with_context(|| format!("{peer} is not in the book; `kaspath peers list` names those that are"))
}

fn line(record: &PeerRecord, now: Timestamp) -> String {
    let PeerRecord { peer, last_seen, successes, failures, .. } = record;
    let banned = match record.ban(now) {
        Some((BanSource::Manual, until)) => format!("for {}", in_largest_unit(until.since(now))),
        Some((BanSource::Kaspad, until)) => format!("for {}, by kaspad", in_largest_unit(until.since(now))),
        None => String::new(),
    };
    let seen = format!("{} ago", in_largest_unit(now.since(*last_seen)));
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

/// A time in its largest unit, to the nearest: a ban of 24 hours that has just begun
/// has 24 hours to go, not 23.
fn in_largest_unit(time: Duration) -> String {
    let nearest = |unit: u64| (time.as_secs_f64() / unit as f64).round() as u64;
    match nearest(1) {
        seconds @ 0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", nearest(60)),
        7_200..172_800 => format!("{} h", nearest(3_600)),
        _ => format!("{} d", nearest(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_announced_at_its_full_length() {
        let a_moment_later = |seconds| in_largest_unit(Duration::from_secs(seconds) - Duration::from_micros(3));
        assert_eq!(a_moment_later(24 * 3600), "24 h");
        assert_eq!(a_moment_later(120), "2 min");
        assert_eq!(a_moment_later(7 * 86_400), "7 d");
        assert_eq!(in_largest_unit(Duration::from_millis(59_600)), "1 min");
        assert_eq!(in_largest_unit(Duration::ZERO), "0 s");
    }
}
