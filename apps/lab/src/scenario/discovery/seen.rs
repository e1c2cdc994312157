//! What a node's events tell.

use std::collections::BTreeSet;

use kaspath_domain::Counts;
use serde_json::Value;

/// The peers with which a session is up after these events.
pub(super) fn peers(events: &[Value]) -> BTreeSet<String> {
    let mut sessions = Counts::default();
    events.iter().for_each(|event| note(&mut sessions, event));
    let named = events.iter().filter_map(|event| event["peer"].as_str()).map(str::to_owned);
    named.filter(|peer| sessions.of(peer) > 0).collect()
}

/// Of two sessions with one peer, begun from both ends at once, one ends.
fn note(sessions: &mut Counts<String>, event: &Value) {
    let Some(peer) = event["peer"].as_str() else { return };
    match event["event"].as_str() {
        Some("peer-ready") => sessions.add(peer.to_owned()),
        Some("peer-left") => sessions.remove(&peer.to_owned()),
        _ => {}
    }
}

/// When there was a session with so many peers for the first time.
pub(super) fn when_peers(events: &[Value], count: usize) -> Option<f64> {
    let mut sessions = Counts::default();
    let reached = events.iter().find(|event| {
        note(&mut sessions, event);
        sessions.len() >= count
    });
    reached?["time"].as_f64()
}

/// The relays at which a reservation stands after these events.
pub(super) fn held(events: &[Value]) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for event in events.iter().filter(|event| event["event"] == "reservation") {
        let Some(relay) = event["relay"].as_str() else { continue };
        match event["state"].as_str() {
            Some("confirmed" | "renewed") => held.insert(relay.to_owned()),
            Some("lost") => held.remove(relay),
            _ => false,
        };
    }
    held
}

/// What carries the session with a peer after these events: `path` of the last event that tells.
pub(super) fn path<'e>(events: &'e [Value], peer: &str) -> Option<&'e Value> {
    let tells = |event: &&Value| {
        let named = ["peer-ready", "session-moved"].iter().any(|name| event["event"] == *name);
        named && event["peer"] == peer
    };
    events.iter().rev().find(tells).map(|event| &event["path"])
}

/// Seconds with two digits.
pub(super) fn rounded(seconds: Option<f64>) -> Option<f64> {
    seconds.map(|seconds| (seconds * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, peer: &str, time: u64) -> Value {
        json!({ "event": name, "peer": peer, "time": time })
    }

    #[test]
    fn peers_are_counted_once_and_until_they_leave() {
        let events = [
            event("peer-ready", "a", 1),
            event("peer-ready", "a", 2),
            event("peer-left", "a", 3),
            event("peer-ready", "b", 4),
            event("peer-left", "a", 5),
        ];
        assert_eq!(peers(&events), BTreeSet::from(["b".to_owned()]));
        assert_eq!((when_peers(&events, 1), when_peers(&events, 2), when_peers(&events, 3)), (Some(1.0), Some(4.0), None));
    }

    #[test]
    fn a_reservation_stands_until_it_is_lost() {
        let event = |relay: &str, state: &str| json!({ "event": "reservation", "relay": relay, "state": state });
        let events = [event("a", "requested"), event("a", "confirmed"), event("b", "confirmed"), event("a", "lost")];
        assert_eq!(held(&events[..1]), BTreeSet::new());
        assert_eq!(held(&events), BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn the_last_event_tells_the_path() {
        let ready = json!({ "event": "peer-ready", "peer": "a", "path": { "relayed": {} } });
        let moved = json!({ "event": "session-moved", "peer": "a", "path": { "direct": {} } });
        let other = json!({ "event": "peer-ready", "peer": "b", "path": { "relayed": {} } });
        assert_eq!(path(&[ready, moved, other], "a"), Some(&json!({ "direct": {} })));
        assert_eq!(path(&[], "a"), None);
    }
}
