//! The writer is killed, again and again, while it writes: no record that was
//! committed is lost, and no file needs a repair by hand. `KILLS=200` sets how
//! often; each kill takes some 50 ms.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use kaspath_domain::{PeerBook, PeerChange, PeerIdentity, Timestamp};
use kaspath_peer_store::PeerStore;

const CHILD: &str = "PEER_STORE_WRITES_TO";

fn peer(n: u64) -> PeerIdentity {
    let bytes: Vec<u8> = [0, 8].into_iter().chain(n.to_be_bytes()).collect();
    PeerIdentity::from_bytes(&bytes).unwrap()
}

fn open(path: &Path) -> PeerStore {
    let (store, aside) = PeerStore::open(path, 1_000_000).unwrap();
    assert_eq!(aside, None, "the file needs a repair by hand");
    store
}

/// The victim: writes records for ever, and says which are committed.
fn write_for_ever(path: &Path) {
    let store = open(path);
    let begin = store.all().len() as u64;
    for n in begin.. {
        for record in [n, n / 2] {
            store.update(&peer(record), PeerChange::Admitted, Timestamp::from_epoch(Duration::from_secs(n))).unwrap();
        }
        store.flush().unwrap();
        println!("committed {n}");
    }
}

#[test]
fn a_writer_that_is_killed_loses_nothing_that_it_has_committed() {
    if let Ok(path) = std::env::var(CHILD) {
        write_for_ever(Path::new(&path));
    }
    let kills: u64 = std::env::var("KILLS").map_or(5, |kills| kills.parse().expect("a number of kills"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_writer_that_is_killed_loses_nothing_that_it_has_committed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed after a different number of commits each time, and so at another
        // moment of the next one.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + kill % 3;
        let mut seen = 0;
        let mut last = None;
        while seen < wanted {
            let line = lines.next().expect("the writer goes on").unwrap();
            if let Some(n) = line.strip_prefix("committed ") {
                last = Some(n.parse::<u64>().unwrap());
                seen += 1;
            }
        }
        for _ in 0..(kill % 7) * 3_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            last = line.strip_prefix("committed ").and_then(|n| n.parse().ok()).or(last);
        }
        let store = open(&path);
        for n in 0..=last.unwrap() {
            assert!(store.get(&peer(n)).is_some(), "record {n} of kill {kill} is lost");
        }
    }
}
