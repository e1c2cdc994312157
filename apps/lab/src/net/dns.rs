//! A DNS server for TXT records, in one of the lab's hosts.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{Host, enter::bind_both};

/// Longest answer by UDP to those that do not say more (RFC 1035); a longer one is asked for
/// again by TCP.
const MAX_UDP: usize = 512;
/// Time for a client over TCP to ask.
const ASK: Duration = Duration::from_secs(5);
/// Seconds that an answer may be kept.
const TTL: u32 = 30;

const TXT: u16 = 16;
const INTERNET: u16 = 1;
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// Names in lower case, and the texts of each.
type Zone = BTreeMap<String, Vec<String>>;

/// A server, until the lab ends. It answers for all names.
pub(crate) struct Dns(Arc<Mutex<Zone>>);

impl Dns {
    /// Starts one, without any name, at port 53 of a host.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let (tcp, udp) = bind_both(&host.namespace, 53).context("port 53")?;
        let zone = Arc::new(Mutex::new(Zone::new()));
        let by_udp = zone.clone();
        thread::spawn(move || serve_udp(&udp, &by_udp));
        let by_tcp = zone.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                // One that breaks off asks again.
                let _ = serve_tcp(stream, &by_tcp);
            }
        });
        Ok(Self(zone))
    }

    /// From now on the name has these texts; without any it does not exist.
    pub(crate) fn set(&self, name: &str, texts: Vec<String>) {
        let mut zone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.is_empty() {
            zone.remove(name);
        } else {
            zone.insert(name.to_owned(), texts);
        }
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut query = [0; MAX_UDP];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        if let Some(answer) = answer(&query[..length], &zone.lock().unwrap_or_else(PoisonError::into_inner), MAX_UDP) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) -> Result<()> {
    stream.set_read_timeout(Some(ASK))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query)?;
        let answer = answer(&query, &zone.lock().unwrap_or_else(PoisonError::into_inner), u16::MAX.into());
        let answer = answer.context("no query")?;
        stream.write_all(&[&u16::try_from(answer.len())?.to_be_bytes()[..], &answer].concat())?;
    }
}

/// The answer to a query with one question, in at most so many bytes; `None` to what is no
/// query.
fn answer(query: &[u8], zone: &Zone, limit: usize) -> Option<Vec<u8>> {
    let header = query.get(..12)?;
    let is_answer = header[2] & 0x80 != 0;
    if is_answer || header[4..6] != [0, 1] {
        return None;
    }
    let (name, end) = name(query, 12)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let question = query.get(12..end + 4)?;
    let known = zone.get(&name);
    let texts = known.filter(|_| kind == TXT).map(Vec::as_slice).unwrap_or_default();
    let code = if known.is_some() { NO_ERROR } else { NO_SUCH_NAME };
    let records: Vec<u8> = texts.iter().flat_map(|text| record(text)).collect();
    let fits = 12 + question.len() + records.len() <= limit;
    // An answer with authority; the second bit from the right says that it is cut off.
    let flags = [0x84 | header[2] & 1 | if fits { 0 } else { 2 }, code];
    let count = u16::try_from(if fits { texts.len() } else { 0 }).ok()?.to_be_bytes();
    let head = [&header[..2], &flags, &[0, 1], &count, &[0; 4], question].concat();
    Some(if fits { [head, records].concat() } else { head })
}

/// A record of the name in the question: a text in strings of at most 255 bytes.
fn record(text: &str) -> Vec<u8> {
    let strings: Vec<u8> =
        text.as_bytes().chunks(255).flat_map(|part| [&[u8::try_from(part.len()).unwrap_or(255)], part].concat()).collect();
    let length = u16::try_from(strings.len()).unwrap_or(u16::MAX);
    [&[0xc0, 12][..], &TXT.to_be_bytes(), &INTERNET.to_be_bytes(), &TTL.to_be_bytes(), &length.to_be_bytes(), &strings].concat()
}

/// The name that begins at `at`, in lower case, and where it ends.
fn name(query: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join("."), at)),
            1..64 => labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase()),
            // A question has nothing to point back to.
            _ => return None,
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        [&query[..], &[0], &kind.to_be_bytes(), &INTERNET.to_be_bytes()].concat()
    }

    fn zone(texts: &[&str]) -> Zone {
        Zone::from([("_dnsaddr.relays.lab".to_owned(), texts.iter().map(|text| (*text).to_owned()).collect())])
    }

    #[test]
    fn texts_are_answered_whatever_the_case_of_the_name() {
        let asked = query("_DNSaddr.relays.LAB", TXT);
        let answer = answer(&asked, &zone(&["one", "two"]), MAX_UDP).unwrap();
        assert_eq!(answer[..8], [7, 9, 0x85, NO_ERROR, 0, 1, 0, 2]);
        assert_eq!(answer[12..asked.len()], asked[12..]);
        let record = |text: &str| [&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 30, 0, 4, 3][..], text.as_bytes()].concat();
        assert_eq!(answer[asked.len()..], [record("one"), record("two")].concat());
    }

    #[test]
    fn another_name_does_not_exist_and_a_name_has_nothing_but_texts() {
        let zone = zone(&["one"]);
        assert_eq!(answer(&query("relays.lab", TXT), &zone, MAX_UDP).unwrap()[3..8], [NO_SUCH_NAME, 0, 1, 0, 0]);
        assert_eq!(answer(&query("_dnsaddr.relays.lab", 1), &zone, MAX_UDP).unwrap()[3..8], [NO_ERROR, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_answer_is_cut_off_by_udp_alone() {
        let zone = zone(&["a".repeat(300).as_str(), "b".repeat(300).as_str()]);
        let asked = query("_dnsaddr.relays.lab", TXT);
        let cut = answer(&asked, &zone, MAX_UDP).unwrap();
        assert_eq!((cut.len(), cut[2] & 2, cut[7]), (asked.len(), 2, 0));
        let whole = answer(&asked, &zone, 65_535).unwrap();
        assert_eq!((whole[2] & 2, whole[7]), (0, 2));
        assert_eq!(whole[asked.len() + 10..asked.len() + 13], [1, 46, 255], "302 bytes, a string of 255 first");
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let asked = query("a.lab", TXT);
        for length in 0..asked.len() {
            assert_eq!(answer(&asked[..length], &zone(&[]), MAX_UDP), None, "{length} bytes");
        }
        let mut pointer = asked.clone();
        pointer[12] = 0xc0;
        let mut response = asked;
        response[2] |= 0x80;
        assert_eq!(answer(&pointer, &zone(&[]), MAX_UDP), None);
        assert_eq!(answer(&response, &zone(&[]), MAX_UDP), None);
    }
}
