//! `kaspath peers`: the running program is asked, or the book is opened where none runs.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_control::{Answer, AskError, Client, PeerSelector, Request};
use kaspath_domain::{AddressSource, BanSource, PeerIdentity, PeerRecord, Timestamp, wall_clock};
use kaspath_peer_store::{PeerStore, StoreError};

use super::book;
use crate::{
    cli::PeersCommand,
    output,
    peers::{LIMIT, open_file},
    settings::Settings,
};

const DEFAULT_BAN: Duration = Duration::from_secs(24 * 3600);
pub(super) const UNEXPECTED: &str = "the answer is to another request";

/// Answers, with addresses hidden if asked.
pub(crate) fn run(settings: &Settings, what: &PeersCommand, redacted: bool) -> Result<()> {
    let say = |text: String| output::answer(&format!("{text}\n"), redacted);
    let mut book = Book::open(settings, what)?;
    let done = match what {
        PeersCommand::List => {
            let head = format!("{:<54}{:>12}{:>9}{:>9}  banned", "peer", "seen", "reached", "failed");
            let lines = book.all()?.iter().map(|record| line(record, wall_clock())).collect::<Vec<_>>();
            say([vec![head], lines].concat().join("\n"))
        }
        PeersCommand::Show { peer } => say(serde_json::to_string_pretty(&book.show(peer)?)?),
        PeersCommand::Ban { peer, time } => {
            let time = time.map_or(DEFAULT_BAN, |span| span.0);
            let peer = book.change(Request::Ban { peer: peer.clone(), seconds: time.as_secs().max(1) })?;
            say(format!("{peer} is banned for {}", in_largest_unit(time)))
        }
        PeersCommand::Unban { peer } => {
            let record = book.show(peer)?;
            let peer = book.change(Request::Unban { peer: peer.clone() })?;
            if let (Some(_), Some(address)) = (record.kaspad_ban, record.loopback) {
                output::remark(&format!("kaspad itself may ban it still: its own `unban {address}` lifts that"));
            }
            say(format!("{peer} is not banned any more"))
        }
        PeersCommand::Forget { peer } => {
            let peer = book.change(Request::Forget { peer: peer.clone() })?;
            say(format!("{peer} is forgotten"))
        }
        PeersCommand::Export => say(serde_json::to_string_pretty(&book.all()?)?),
        PeersCommand::Import { file } => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let mut records: Vec<PeerRecord> =
                serde_json::from_str(&text).with_context(|| format!("{} is not an exported peer book", file.display()))?;
            // The stalest first, so that they are what a full book forgets.
            records.reverse();
            let count = records.len();
            for record in records {
                book.change(Request::Import { record: Box::new(record) })?;
            }
            say(format!("{count} peers taken over"))
        }
    };
    // A running program writes within a second.
    if let Book::Own(store) = &book {
        store.flush()?;
    }
    done
}

/// A peer book: a running program's, or the file where none runs.
enum Book {
    Running(Client),
    Own(PeerStore),
}

impl Book {
    fn open(settings: &Settings, what: &PeersCommand) -> Result<Self> {
        if let Some(path) = &settings.control.path {
            match Client::connect(path) {
                Ok(client) => return Ok(Self::Running(client)),
                Err(AskError::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let path: &Path = &settings.peer_book();
        if !path.exists() && !matches!(what, PeersCommand::Import { .. } | PeersCommand::Ban { .. }) {
            bail!("there is no peer book at {}: a node makes it; give its --appdir", path.display());
        }
        let (store, aside) = match open_file(path) {
            Err(error @ StoreError::InUse(_)) => bail!("{error}, or give the --control-socket that it was started with"),
            opened => opened?,
        };
        if let Some(aside) = aside {
            output::remark(&format!("warning: {aside}"));
        }
        Ok(Self::Own(store))
    }

    fn ask(&mut self, request: Request) -> Result<Answer> {
        match self {
            Self::Running(client) => Ok(client.ask(&request)?),
            Self::Own(store) => book::answer(store, Vec::new(), request, wall_clock()),
        }
    }

    fn show(&mut self, peer: &PeerSelector) -> Result<PeerRecord> {
        let Answer::Peer { record } = self.ask(Request::Show { peer: peer.clone() })? else { bail!(UNEXPECTED) };
        Ok(*record)
    }

    /// Asks for a change; returns the peer that was meant.
    fn change(&mut self, request: Request) -> Result<PeerIdentity> {
        let Answer::Done { peer } = self.ask(request)? else { bail!(UNEXPECTED) };
        Ok(peer)
    }

    /// Every record, those seen last first.
    fn all(&mut self) -> Result<Vec<PeerRecord>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Answer::Peers { records, next } = self.ask(Request::Peers { after })? else { bail!(UNEXPECTED) };
            all.extend(records);
            after = next;
            // A book has no more; a program that sends more might never end.
            if after.is_none() || all.len() > LIMIT {
                break;
            }
        }
        all.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.peer.cmp(&b.peer)));
        Ok(all)
    }
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
            AddressSource::Manual => "configured",
            AddressSource::Dialed { .. } => "reached",
            AddressSource::Inbound => "came from",
            AddressSource::Gossip => "gossip",
        };
        format!("\n    {source} {}", address.locator)
    });
    format!("{:<54}{seen:>12}{successes:>9}{failures:>9}  {banned}{}", peer.to_string(), last.unwrap_or_default())
}

/// A time in its largest unit, to the nearest: a ban of 24 hours that has just begun
/// has 24 hours to go, not 23.
pub(super) fn in_largest_unit(time: Duration) -> String {
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
