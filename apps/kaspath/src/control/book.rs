//! Requests to a peer book, whether a program runs on it or not.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kaspath_control::{Answer, MAX_ANSWER, Request};
use kaspath_domain::{BanSource, PeerBook, PeerChange, PeerIdentity, PeerRecord, Timestamp};

/// Bytes of the records of one answer; one more may follow.
const PAGE: usize = MAX_ANSWER / 4 * 3;

/// Answers a request to the book. `live` are peers that the program knows beside it.
/// The book writes changes by itself, within a second.
///
/// # Errors
/// Why it cannot be fulfilled.
pub(super) fn answer(store: &dyn PeerBook, live: Vec<PeerIdentity>, request: Request, now: Timestamp) -> Result<Answer> {
    // The whole book is read only for a name that is the end of an id.
    let known = || std::iter::once_with(|| store.all()).flatten().map(|record| record.peer).chain(live);
    let peer = match request {
        Request::Status {} => bail!("there is no status without a running program"),
        Request::Peers { after } => return page(store.all(), after.as_ref()),
        Request::Show { peer } => {
            let record = Box::new(find(store, &peer.resolve(known())?)?);
            return Ok(Answer::Peer { record });
        }
        Request::Import { record: mut new } => {
            let peer = new.peer.clone();
            // A clock that is ahead must not make everything else look expired or stale.
            new.last_seen = new.last_seen.min(now);
            let last_seen = new.last_seen;
            store.update(&peer, PeerChange::Join(new), last_seen)?;
            return Ok(Answer::Done { peer });
        }
        Request::Ban { peer, seconds } => {
            let (peer, until) = (peer.resolve(known())?, now + Duration::from_secs(seconds));
            store.update(&peer, PeerChange::Ban { source: BanSource::Manual, until }, now)?;
            peer
        }
        Request::Unban { peer } => {
            let peer = peer.resolve(known())?;
            find(store, &peer)?;
            if !store.update(&peer, PeerChange::Unban { source: BanSource::Manual }, now)? {
                bail!("{peer} is not banned");
            }
            peer
        }
        Request::Forget { peer } => {
            let peer = find(store, &peer.resolve(known())?)?.peer;
            store.forget(&peer);
            peer
        }
    };
    Ok(Answer::Done { peer })
}

fn find(store: &dyn PeerBook, peer: &PeerIdentity) -> Result<PeerRecord> {
    store.get(peer).with_context(|| format!("{peer} is not in the book; `kaspath peers list` names those that are"))
}

/// A part of the book that fits into an answer. It is in an order that does not change
/// while a book is read part by part.
fn page(mut records: Vec<PeerRecord>, after: Option<&PeerIdentity>) -> Result<Answer> {
    records.retain(|record| after.is_none_or(|after| record.peer > *after));
    records.sort_by(|a, b| a.peer.cmp(&b.peer));
    let (mut bytes, mut taken) = (0, 0);
    while taken < records.len() && bytes < PAGE {
        bytes += serde_json::to_vec(&records[taken])?.len();
        taken += 1;
    }
    let more = taken < records.len();
    records.truncate(taken);
    let next = records.last().filter(|_| more).map(|record| record.peer.clone());
    Ok(Answer::Peers { records, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_book_is_read_part_by_part_and_each_part_fits() {
        let peer = |n: u16| PeerIdentity::from_bytes(&[&[0x12, 32][..], &n.to_be_bytes(), &[0; 30]].concat()).unwrap();
        let record = |n| {
            let mut record = PeerRecord::new(peer(n), Timestamp::default());
            (0..PeerRecord::MAX_KASPA_IDS).for_each(|k| {
                record
                    .apply(PeerChange::KaspaId(format!("{k:0>width$}", width = PeerRecord::MAX_KASPA_ID)), Timestamp::default());
            });
            record
        };
        let book: Vec<PeerRecord> = (0..2000).rev().map(record).collect();
        let (mut after, mut read, mut parts) = (None, Vec::new(), 0);
        loop {
            let answer = page(book.clone(), after.as_ref()).unwrap();
            kaspath_control::line(&answer, MAX_ANSWER).expect("it fits");
            let Answer::Peers { records, next } = answer else { panic!("{answer:?}") };
            read.extend(records.into_iter().map(|record| record.peer));
            parts += 1;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert!(parts > 2, "{parts}");
        assert_eq!(read, (0..2000).map(peer).collect::<Vec<_>>(), "each once, in order");
    }
}
