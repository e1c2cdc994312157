//! Every parser of remote bytes and of files, under libFuzzer. `scripts/fuzz` builds
//! and runs it; FUZZ_TARGET names the parser.

#![no_main]

mod allocated;

use std::{env, process, str::from_utf8, sync::LazyLock};

use kaspath_control::{Answer, MAX_ANSWER, MAX_REQUEST, Request};
use kaspath_domain::{PeerIdentity, PeerLocator, PeerRecord, clean};
use kaspath_kaspa_adaptor::{fuzz, pb::KaspadMessage};
use libfuzzer_sys::fuzz_target;
use prost::Message;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("locator", locator),
    ("identity", identity),
    ("clean", cleaned),
    ("frames", frames),
    ("message", message),
    ("exchange", kaspath_transport_libp2p::fuzz::exchange),
    ("relay", kaspath_transport_libp2p::fuzz::relay),
    ("relay-control", kaspath_transport_libp2p::fuzz::relay_control),
    ("dial-back", kaspath_transport_libp2p::fuzz::dial_back),
    ("key", kaspath_transport_libp2p::fuzz::key),
    ("record-envelope", kaspath_transport_libp2p::fuzz::record_envelope),
    ("rendezvous", kaspath_transport_libp2p::fuzz::rendezvous),
    ("gossip", kaspath_transport_libp2p::fuzz::gossip),
    ("table", kaspath_gateway::fuzz::table),
    ("router", kaspath_port_mapping::fuzz::router),
    ("session", kaspath_session::fuzz::session),
    ("record", record),
    ("rpc", rpc),
    ("control", control),
    ("dnsaddr", dnsaddr),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => *target,
        None => {
            let known: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
            eprintln!("FUZZ_TARGET is {name:?}: choose one of {}", known.join(" "));
            process::exit(2);
        }
    }
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));

/// TXT strings, one a line: the answer to every question.
fn dnsaddr(bytes: &[u8]) {
    let strings: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    kaspath_relay_list::fuzz::dnsaddr(&strings);
}

/// What is parsed is printed as it is parsed.
fn locator(bytes: &[u8]) {
    let Ok(text) = from_utf8(bytes) else { return };
    if let Ok(locator) = text.parse::<PeerLocator>() {
        let printed = locator.to_string();
        assert_eq!(printed.parse::<PeerLocator>().as_ref(), Ok(&locator), "{printed}");
    }
}

fn identity(bytes: &[u8]) {
    if let Ok(identity) = PeerIdentity::from_bytes(bytes) {
        assert_eq!(identity.to_string().parse().as_ref(), Ok(&identity));
    }
    if let Ok(identity) = from_utf8(bytes).unwrap_or_default().parse::<PeerIdentity>() {
        assert_eq!(PeerIdentity::from_bytes(identity.as_bytes()).as_ref(), Ok(&identity));
    }
}

fn cleaned(bytes: &[u8]) {
    let [max, text @ ..] = bytes else { return };
    let (max, text) = (usize::from(*max), String::from_utf8_lossy(text));
    let once = clean(&text, max);
    assert!(once.len() <= max && !once.chars().any(char::is_control));
    assert_eq!(clean(&once, max), once);
}

fn frames(bytes: &[u8]) {
    if let [step, bytes @ ..] = bytes {
        fuzz::frames(bytes, usize::from(*step));
    }
}

/// A message takes no more memory than a look at its bytes foretold.
fn message(bytes: &[u8]) {
    let Some(foretold) = fuzz::scan(bytes) else { return };
    let before = allocated::now();
    if let Ok(message) = KaspadMessage::decode(bytes) {
        let taken = allocated::now() - before;
        assert!(taken <= foretold as isize, "{taken} bytes where {foretold} were foretold: {message:?}");
    }
}

fn record(bytes: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<PeerRecord>(bytes) {
        let written = serde_json::to_vec(&record).expect("a record is written");
        let read: PeerRecord = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(serde_json::to_vec(&read).expect("a record is written"), written);
    }
}

fn rpc(bytes: &[u8]) {
    if let Ok(text) = from_utf8(bytes) {
        kaspath_kaspad_rpc::fuzz::answer(text);
    }
}

/// A request is written as it is read.
fn control(bytes: &[u8]) {
    if let Ok(request) = kaspath_control::parse::<Request>(bytes, MAX_REQUEST) {
        let line = kaspath_control::line(&request, MAX_REQUEST).expect("a short request is written");
        assert_eq!(kaspath_control::parse(&line, MAX_REQUEST), Ok(request));
    }
    let _ = kaspath_control::parse::<Answer>(bytes, MAX_ANSWER);
}
