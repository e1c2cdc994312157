//! The control socket of programs that run: `kaspath status`, `kaspath peers`, and
//! clients that mean no good.

mod support;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::{Value, json};
use support::{DEADLINE, Running, free_port, kaspath, signal, wait_until};

const STRANGER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const NODE: [&str; 6] = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json"];

fn output(args: &[&str], appdir: &Path) -> Output {
    kaspath(args, appdir).output().unwrap()
}

/// Exit code, standard output and standard error.
fn told(args: &[&str], appdir: &Path) -> (Option<i32>, String, String) {
    let output = output(args, appdir);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What must succeed, and what it prints.
fn done(args: &[&str], appdir: &Path) -> String {
    let (code, out, error) = told(args, appdir);
    assert_eq!(code, Some(0), "{args:?}: {out}{error}");
    out
}

fn status(appdir: &Path) -> Value {
    let text = done(&["status", "--json"], appdir);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A relay, and a server and a client that stay on it: loopback candidates are not punched.
struct Trio {
    relay: Running,
    server: Running,
    client: Running,
    ids: [String; 3],
    dirs: [PathBuf; 3],
    _root: tempfile::TempDir,
}

impl Trio {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["relay", "server", "client"].map(|name| root.path().join(name));
        let id = |event: &Value| event["peer"].as_str().unwrap().to_owned();
        let relay = Running::start(&["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"], &dirs[0]);
        let started = relay.wait_event("started");
        let (relay_id, address) = (id(&started), started["listening"][0].as_str().unwrap().to_owned());
        let server = Running::start(&[&["server", "--relay", &address][..], &NODE].concat(), &dirs[1]);
        let server_id = id(&server.wait_event("started"));
        server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
        let remote = format!("{address}/p2p-circuit/p2p/{server_id}");
        let args = [&["client", "--remote", &remote, "--policy", "relay-only"][..], &NODE].concat();
        let client = Running::start(&args, &dirs[2]);
        let client_id = id(&client.wait_event("started"));
        client.wait_event("peer-ready");
        server.wait_event("peer-ready");
        Self { relay, server, client, ids: [relay_id, server_id, client_id], dirs, _root: root }
    }
}

fn short(id: &str) -> &str {
    &id[id.len() - 8..]
}

#[test]
fn relay_server_and_client_say_how_they_are_doing() {
    let trio = Trio::start();
    let [relay, server, client] = &trio.ids;
    // Events are entered beside the sessions, a moment later.
    let settled = |name: &str, dir: &Path, holds: &dyn Fn(&Value) -> bool| {
        wait_until(name, || holds(&status(dir)));
        status(dir)
    };
    let of_relay = settled("the relay's circuit", &trio.dirs[0], &|status| status["circuits"]["total"] == 1);
    assert_eq!((&of_relay["version"], &of_relay["answer"], &of_relay["role"]), (&json!(1), &json!("status"), &json!("relay")));
    assert_eq!(of_relay["reservations"]["shown"][0]["peer"], json!(server));
    let circuit = &of_relay["circuits"]["shown"][0];
    assert_eq!((&circuit["source"], &circuit["destination"]), (&json!(client), &json!(server)));
    assert_eq!(of_relay["counters"]["relay-circuit-opened"], 1);

    let of_server = settled("the server's session", &trio.dirs[1], &|status| status["counters"]["peer-ready"] == 1);
    assert_eq!(of_server["counters"]["session-began"], 1);
    assert_eq!((&of_server["role"], &of_server["peer"]), (&json!("node"), &json!(server)));
    let reservation = &of_server["relays"]["shown"][0];
    assert_eq!((&reservation["relay"], &reservation["state"]), (&json!(relay), &json!("confirmed")));
    let of_client = status(&trio.dirs[2]);
    for (status, direction, other) in [(&of_server, "inbound", client), (&of_client, "outbound", server)] {
        assert_eq!(status["peers"]["total"], 1);
        let peer = &status["peers"]["shown"][0];
        assert_eq!((&peer["peer"], &peer["direction"]), (&json!(other), &json!(direction)), "{peer}");
        assert_eq!(peer["path"]["relayed"]["relay"], json!(relay), "{peer}");
        assert!(peer["user-agent"].as_str().unwrap().starts_with("/kaspath:") && peer["received"].as_u64() > Some(0), "{peer}");
    }
    assert_eq!(of_client["peers"]["shown"][0]["path"]["relayed"]["reason"], "policy", "{of_client}");

    let text = done(&["status"], &trio.dirs[2]);
    let line = text.lines().find(|line| line.contains(short(server))).unwrap();
    assert!(line.contains("outbound") && line.contains("(the policy asks for the relay)"), "{text}");
    let redacted = done(&["status", "--redact"], &trio.dirs[0]);
    assert!(redacted.starts_with(&format!("relay {relay}")) && redacted.contains("circuits here: 1"), "{redacted}");

    let Trio { relay, server, client, dirs, .. } = trio;
    assert_eq!((client.stop(), server.stop(), relay.stop()), (0, 0, 0));
    for (dir, name) in dirs.iter().zip(["relay.sock", "node.sock", "node.sock"]) {
        assert!(!dir.join(name).exists(), "{name} goes with its program");
        let (code, _, error) = told(&["status"], dir);
        assert!(code == Some(1) && error.contains("no node runs") && error.contains("--appdir"), "{error}");
    }
}

#[test]
fn a_ban_on_a_running_node_ends_the_session_and_keeps_the_peer_out_until_it_is_lifted() {
    let trio = Trio::start();
    let (client_id, dir) = (&trio.ids[2], &trio.dirs[1]);
    let list = done(&["peers", "list"], dir);
    assert!(list.contains(client_id), "{list}");
    let said = done(&["peers", "ban", short(client_id), "--for", "3h"], dir);
    assert_eq!(said, format!("{client_id} is banned for 3 h\n"), "the short id is the client's");
    assert_eq!(trio.server.wait_event("peer-left")["peer"], json!(client_id));
    trio.client.wait_for("a refusal", |event| event.to_string().contains("banned"));
    assert_eq!(status(dir)["peers"]["total"], 0);
    assert!(done(&["peers", "list"], dir).contains("for 3 h"));

    assert!(done(&["peers", "unban", short(client_id)], dir).starts_with(client_id.as_str()));
    assert_eq!(trio.server.wait_event("peer-ready")["peer"], json!(client_id));
    let (code, _, error) = told(&["peers", "unban", client_id], dir);
    assert!(code == Some(1) && error.contains("is not banned"), "{error}");
    let (code, _, error) = told(&["peers", "show", "4kx6nXTN"], dir);
    assert!(code == Some(1) && error.contains("ends with 4kx6nXTN"), "{error}");

    // What was changed over the socket is in the book when the node has gone.
    done(&["peers", "ban", STRANGER], dir);
    let Trio { server, dirs, .. } = trio;
    assert_eq!(server.stop(), 0);
    assert!(done(&["peers", "show", short(STRANGER)], &dirs[1]).contains("\"secs\""));
    assert!(done(&["peers", "list"], &dirs[1]).contains("for 24 h"));
}

#[test]
fn a_book_is_exported_from_one_running_node_and_imported_into_another() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let nodes = dirs.each_ref().map(|dir| {
        let node = Running::start(&[&["server"][..], &NODE].concat(), dir.path());
        node.wait_event("started");
        node
    });
    done(&["peers", "ban", STRANGER], dirs[0].path());
    let file = dirs[1].path().join("export.json");
    fs::write(&file, done(&["peers", "export"], dirs[0].path())).unwrap();
    assert_eq!(done(&["peers", "import", file.to_str().unwrap()], dirs[1].path()), "1 peers taken over\n");
    assert!(done(&["peers", "list"], dirs[1].path()).contains("for 24 h"));
    assert!(done(&["peers", "forget", STRANGER], dirs[1].path()).contains("is forgotten"));
    assert!(!done(&["peers", "list"], dirs[1].path()).contains(STRANGER));
    nodes.into_iter().for_each(|node| assert_eq!(node.stop(), 0));
}

#[test]
fn the_socket_is_private_replaced_when_stale_and_refused_when_live() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("node.sock");
    let args = [&["server"][..], &NODE].concat();
    let killed = Running::start(&args, dir.path());
    killed.wait_event("started");
    assert_eq!(fs::symlink_metadata(&socket).unwrap().permissions().mode() & 0o7777, 0o660);
    signal("KILL", killed.pid());
    killed.ended();
    let (code, _, error) = told(&["status"], dir.path());
    assert!(code == Some(1) && error.contains("of a program that has died"), "{error}");

    let server = Running::start(&args, dir.path());
    server.wait_event("started");
    assert_eq!(status(dir.path())["role"], "node");
    let other = tempfile::tempdir().unwrap();
    let at = ["server", "-l", "/ip4/127.0.0.1/tcp/0", "--control-socket", socket.to_str().unwrap()];
    let (code, _, error) = told(&at, other.path());
    assert!(code == Some(1) && error.contains("a running program has") && error.contains("--control-socket"), "{error}");
    assert_eq!(status(dir.path())["role"], "node", "it is unharmed");
    assert_eq!(server.stop(), 0);
}

#[test]
fn without_a_socket_a_node_runs_and_its_book_names_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(&[&["server", "--control-socket", "off"][..], &NODE].concat(), dir.path());
    server.wait_event("started");
    assert!(!dir.path().join("node.sock").exists());
    let (code, _, error) = told(&["peers", "list"], dir.path());
    assert!(code == Some(1) && error.contains("is in use") && error.contains("--control-socket"), "{error}");
    assert_eq!(server.stop(), 0);
    let group = ["server", "-l", "/ip4/127.0.0.1/tcp/0", "--control-group", "no-such-group"];
    let (code, _, error) = told(&group, dir.path());
    assert!(code == Some(1) && error.contains("no-such-group"), "{error}");
}

#[test]
fn a_gateway_answers_as_a_node_does() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = format!("127.0.0.1:{}", free_port());
    let args = [&["gateway", "--kaspad", &kaspad, "--kaspad-rpc", "off"][..], &NODE].concat();
    let gateway = Running::start(&args, dir.path());
    gateway.wait_event("started");
    let status = status(dir.path());
    assert_eq!((&status["role"], &status["peers"]["total"]), (&json!("gateway"), &json!(0)));
    assert!(done(&["peers", "ban", STRANGER], dir.path()).contains("for 24 h"));
    assert!(done(&["peers", "list"], dir.path()).contains(STRANGER));
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn hostile_clients_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("node.sock");
    let server = Running::start(&[&["server"][..], &NODE].concat(), dir.path());
    server.wait_event("started");
    let connect = || {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        stream
    };
    let _silent: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    assert_eq!(status(dir.path())["role"], "node", "a hundred silent connections keep nobody out");

    let mut endless = connect();
    let _ = (0..256).try_for_each(|_| endless.write_all(&[b'x'; 64 << 10]));
    let mut answer = String::new();
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");

    let mut nonsense = connect();
    let deep = "[".repeat(60_000);
    nonsense.write_all(format!("\u{0}\n{deep}\n{{\"version\":1,\"request\":\"stop\"}}\n").as_bytes()).unwrap();
    nonsense.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    nonsense.read_to_string(&mut answers).unwrap();
    assert!(answers.lines().count() == 3 && answers.lines().all(|line| line.contains("\"answer\":\"error\"")), "{answers}");
    assert_eq!(status(dir.path())["role"], "node");
    assert_eq!(server.stop(), 0);
}
