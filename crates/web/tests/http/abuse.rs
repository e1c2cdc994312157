//! Clients that break the rules of HTTP or of manners.

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::support::{TIMEOUT, server};

/// A server that is well answers this.
const FINE: &[u8] = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn other_methods_and_bodies_are_refused() {
    let server = server(None);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"] {
        let reply =
            server.send(format!("{method} /status.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.header("allow")), (Some(405), Some("GET, HEAD")), "{method}");
    }
    for body in ["Content-Length: 1000000000\r\n\r\nxxxx", "Transfer-Encoding: chunked\r\n\r\nffffffff\r\nxx"] {
        let begin = Instant::now();
        let reply = server.send(format!("GET /status.json HTTP/1.1\r\nHost: localhost\r\n{body}").as_bytes());
        assert_eq!(reply.status, Some(413));
        assert!(begin.elapsed() < Duration::from_secs(5), "the body is not waited for");
    }
    assert_eq!(server.send(FINE).status, Some(200));
}

#[test]
fn headers_that_are_too_large_too_many_or_no_headers_are_refused() {
    let server = server(None);
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(100));
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9_000));
    for request in [large, many, path] {
        let status = server.send(request.as_bytes()).status;
        assert!(matches!(status, Some(414 | 431)), "{status:?} for {} bytes", request.len());
    }
    // It never ends, and the server does not keep it: it closes while this still writes.
    let mut endless = server.open();
    endless.set_write_timeout(Some(TIMEOUT)).unwrap();
    let sent = (0..1024).take_while(|_| endless.write_all(&[b'a'; 64 << 10]).is_ok()).count();
    assert!(sent < 1024, "64 MiB were taken");
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0\0\0\0\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let status = server.send(nonsense).status;
        assert!(matches!(status, None | Some(400..=505)), "{status:?}");
    }
    assert_eq!(server.send(FINE).status, Some(200));
}

#[test]
fn one_request_is_answered_per_connection() {
    let server = server(None);
    let reply = server.send(&[FINE, FINE].concat());
    assert_eq!((reply.status, reply.body.matches("made").count()), (Some(200), 1));
}

#[test]
fn slow_headers_are_cut_off() {
    let server = server(None);
    let begin = Instant::now();
    let mut slow = server.open();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut silent = server.open();
    // A byte now and then does not prolong it.
    while slow.write_all(b"a").is_ok() {
        assert!(begin.elapsed() < TIMEOUT, "it is never closed");
        slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if matches!(slow.read(&mut [0; 64]), Ok(0)) {
            break;
        }
    }
    assert!(begin.elapsed() >= Duration::from_secs(4) && begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());
    assert!(silent.read(&mut [0; 64]).is_ok(), "closed, and not waited for");
    assert!(begin.elapsed() < Duration::from_secs(11));
    assert_eq!(server.send(FINE).status, Some(200));
}

#[test]
fn a_hundred_silent_connections_keep_nobody_out() {
    let server = server(None);
    let held: Vec<_> = (0..100).map(|_| server.open()).collect();
    assert_eq!(server.send(FINE).status, Some(200), "from the same address");
    let held_elsewhere: Vec<_> = (0..100).map(|n| server.open_from(Ipv4Addr::new(127, 0, 1, n + 1))).collect();
    assert_eq!(server.send(FINE).status, Some(200));
    assert_eq!(server.send_from(Ipv4Addr::new(127, 0, 2, 1), FINE).status, Some(200));
    drop((held, held_elsewhere));
}

#[test]
fn those_who_listen_and_never_read_do_not_hold_up_others() {
    let server = server(None);
    let mut deaf = Vec::new();
    for _ in 0..7 {
        let mut stream = server.open();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        deaf.push(stream);
    }
    let mut reader = server.open();
    reader.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let (begin, mut read) = (Instant::now(), Vec::new());
    while String::from_utf8_lossy(&read).matches("data: ").count() < 3 {
        let mut buffer = [0; 4096];
        let count = reader.read(&mut buffer).unwrap();
        assert!(count > 0 && begin.elapsed() < TIMEOUT);
        read.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(server.send(FINE).status, Some(200));
}
