//! What the server gives, and to whom.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::support::{Server, TIMEOUT, TOKEN, server, token};
use kaspath_web::{BindError, Web};

#[test]
fn each_route_has_its_answer_and_every_answer_its_headers() {
    let server = server(None);
    for (path, kind, part) in [
        ("/", "text/html", "<title>Kaspath</title>"),
        ("/page.css", "text/css", "prefers-color-scheme"),
        ("/page.js", "text/javascript", "EventSource"),
        ("/icon.svg", "image/svg+xml", "<svg"),
        ("/status.json", "application/json", "{\"made\":1,"),
        ("/metrics", "application/openmetrics-text; version=1.0.0", "kaspath_up 1\n"),
        ("/healthz", "text/plain", "alive\n"),
        ("/readyz", "text/plain", "ready\n"),
        ("/status.json?x=1", "application/json", "{\"made\":2,"),
    ] {
        let reply = server.get(path, &[]);
        assert_eq!(reply.status, Some(200), "{path}");
        assert!(reply.header("content-type").unwrap().starts_with(kind) && reply.body.contains(part), "{path}: {reply:?}");
        assert!(reply.header("content-security-policy").unwrap().contains("default-src 'none'; script-src 'self'"), "{path}");
        for (name, value) in [("x-frame-options", "DENY"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), None, "no other site reads it");
    }
    let missing = server.get("/etc/passwd", &[]);
    assert_eq!((missing.status, missing.header("x-frame-options")), (Some(404), Some("DENY")));
}

#[test]
fn a_program_that_cannot_do_its_work_says_why_and_is_still_alive() {
    let server = server(None);
    *server.ready.lock().unwrap() = Err("no relay has confirmed a reservation".into());
    let reply = server.get("/readyz", &[]);
    assert_eq!((reply.status, reply.body.as_str()), (Some(503), "not ready: no relay has confirmed a reservation\n"));
    assert_eq!(server.get("/healthz", &[]).status, Some(200));
}

#[test]
fn a_head_request_gets_the_headers_alone() {
    let server = server(None);
    let reply = server.send(b"HEAD /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((reply.status, reply.body.as_str()), (Some(200), ""));
    assert!(reply.header("content-length").unwrap().parse::<usize>().unwrap() > 1000);
    assert_eq!(server.send(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n").status, Some(405));
}

/// The data of the next event.
fn next_event(lines: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the server closed the connection");
        if let Some(data) = line.strip_prefix("data: ") {
            return data.trim().to_owned();
        }
    }
}

fn listen(server: &Server) -> BufReader<TcpStream> {
    let mut stream = server.open();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    BufReader::new(stream)
}

#[test]
fn listeners_are_told_of_a_change_at_once_and_of_many_changes_together() {
    let server = server(None);
    let (mut one, mut other) = (listen(&server), listen(&server));
    assert!(next_event(&mut one).starts_with("{\"made\":") && next_event(&mut other).starts_with("{\"made\":"));
    let (begin, before) = (Instant::now(), server.made.load(Ordering::Relaxed));
    while begin.elapsed() < Duration::from_secs(2) {
        server.changes.notify();
        std::thread::yield_now();
    }
    let made = server.made.load(Ordering::Relaxed) - before;
    assert!((2..=9).contains(&made), "{made} in two seconds, for both listeners together");
    let deadline = Instant::now() + TIMEOUT;
    let newest = format!("{{\"made\":{}", server.made.load(Ordering::Relaxed));
    while !next_event(&mut one).starts_with(&newest) {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_ninth_listener_is_refused_and_one_that_goes_makes_room() {
    let server = server(None);
    let mut all: Vec<_> = (0..8).map(|_| listen(&server)).collect();
    all.iter_mut().for_each(|listener| drop(next_event(listener)));
    let refused = server.get("/events", &[]);
    assert_eq!((refused.status, refused.header("retry-after")), (Some(429), Some("5")));
    assert_eq!(server.get("/status.json", &[]).status, Some(200));
    all.pop();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // Whether the server has seen that it is gone.
        let mut again = listen(&server);
        let mut first = String::new();
        again.read_line(&mut first).unwrap();
        if first.contains("200") {
            break;
        }
        assert!(Instant::now() < deadline, "{first}");
    }
}

#[test]
fn another_sites_page_can_neither_listen_nor_reach_it_by_a_name_of_its_own() {
    let server = server(None);
    for path in ["/status.json", "/events", "/metrics", "/readyz"] {
        assert_eq!(server.get(path, &["Sec-Fetch-Site: cross-site"]).status, Some(403), "{path}");
    }
    for path in ["/", "/status.json", "/events", "/metrics", "/readyz", "/login"] {
        let reply = server.send(format!("GET {path} HTTP/1.1\r\nHost: attacker.example:4002\r\n\r\n").as_bytes());
        assert_eq!(reply.status, Some(403), "{path}");
        assert!(!reply.body.contains("made"), "{path}");
    }
    let named = server.send(b"GET http://localhost/status.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(named.status, Some(404), "a proxy's form");
    assert_eq!(
        server.send(b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:4002\r\n\r\n").status,
        Some(200),
        "a probe names the host as it likes"
    );
}

#[test]
fn with_a_token_everything_but_health_and_the_form_needs_it() {
    let server = server(Some(token()));
    for path in ["/", "/status.json", "/events", "/metrics", "/readyz", "/login"] {
        let reply = server.get(path, &[]);
        assert_eq!((reply.status, reply.header("www-authenticate")), (Some(401), Some("Bearer")), "{path}");
        assert!(!reply.body.contains("made") && !reply.body.contains("kaspath_up"), "{path}");
    }
    assert!(server.get("/", &[]).body.contains("<form"));
    for path in ["/healthz", "/login.js", "/page.css", "/icon.svg"] {
        assert_eq!(server.get(path, &[]).status, Some(200), "{path}");
    }
    let right = format!("Authorization: Bearer {TOKEN}");
    for path in ["/", "/status.json", "/metrics", "/readyz"] {
        assert_eq!(server.get(path, &[&right]).status, Some(200), "{path}");
    }
    let login = server.get("/login", &[&right]);
    let cookie = login.header("set-cookie").unwrap();
    assert!(login.status == Some(204) && cookie.contains("HttpOnly") && !cookie.contains(TOKEN), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert!(server.get("/", &[&cookie]).body.contains("id=\"peers\""));
    assert_eq!(server.get("/status.json", &[&cookie, "Host: status.example"]).status, Some(200), "behind a proxy");
}

#[test]
fn guesses_are_slowed_down_and_only_where_they_come_from() {
    let server = server(Some(token()));
    for _ in 0..5 {
        assert_eq!(server.get("/metrics", &["Authorization: Bearer guess"]).status, Some(401));
    }
    let right = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let reply = server.send(right.as_bytes());
    assert_eq!(reply.status, Some(429), "also the right one");
    assert!((1..=10).contains(&reply.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(server.send_from(Ipv4Addr::new(127, 0, 0, 2), right.as_bytes()).status, Some(200));
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_a_token() {
    let anywhere = || (Ipv4Addr::UNSPECIFIED, 0).into();
    let Err(error) = Web::bind(anywhere(), None) else { panic!("it listens") };
    assert!(matches!(error, BindError::WithoutToken(_)) && error.to_string().contains("--web-token-file"), "{error}");
    assert!(Web::bind("[::1]:0".parse().unwrap(), None).is_ok_and(|web| web.address().port() != 0));
    let first = Web::bind(anywhere(), Some(token())).unwrap();
    let Err(taken) = Web::bind(first.address(), Some(token())) else { panic!("the port is taken") };
    assert!(taken.to_string().contains("--web-listen"), "{taken}");
}
