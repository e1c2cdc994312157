//! The status page of programs that run: what it gives, and to whom.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::{Value, json};
use support::{DEADLINE, Running, free_port, kaspath, wait_until};

const NODE: [&str; 8] = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json", "--web-listen", "127.0.0.1:0"];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Where its page is, by the event that it prints.
fn page(program: &Running) -> String {
    program.wait_event("web-listening")["address"].as_str().unwrap().to_owned()
}

/// Status and body of an answer.
fn get(address: &str, path: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn status(address: &str) -> Value {
    let (code, body) = get(address, "/status.json", "");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn by_socket(appdir: &Path) -> Value {
    let output = kaspath(&["status", "--json"], appdir).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Sorted names of the fields at every depth.
fn shape(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) if at != "/counters" => {
            fields.iter().for_each(|(name, value)| shape(value, &format!("{at}/{name}"), into))
        }
        Value::Array(entries) => entries.iter().take(1).for_each(|entry| shape(entry, &format!("{at}/*"), into)),
        _ => into.push(at.to_owned()),
    }
}

#[test]
fn a_node_is_ready_when_a_relay_has_confirmed_and_page_and_socket_say_the_same() {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["relay", "server", "client"].map(|name| root.path().join(name));
    let port = free_port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let relay_args = ["relay", "-l", &listen, "--log-format", "json", "--web-listen", "127.0.0.1:0"];
    let id = String::from_utf8(kaspath(&["id", "--relay"], &dirs[0]).output().unwrap().stdout).unwrap();
    let relay_address = format!("{listen}/p2p/{}", id.trim().rsplit(' ').next().unwrap());

    let server = Running::start(&[&["server", "--relay", &relay_address][..], &NODE].concat(), &dirs[1]);
    let server_id = server.wait_event("started")["peer"].as_str().unwrap().to_owned();
    let server_page = page(&server);
    let (code, why) = get(&server_page, "/readyz", "");
    assert!(code == 503 && why.contains("no relay has confirmed a reservation"), "{why}");
    assert_eq!(get(&server_page, "/healthz", "").0, 200);

    let relay = Running::start(&relay_args, &dirs[0]);
    let relay_page = page(&relay);
    assert_eq!(get(&relay_page, "/readyz", ""), (200, "ready\n".to_owned()));
    wait_until("a ready server", || get(&server_page, "/readyz", "").0 == 200);

    let remote = format!("{relay_address}/p2p-circuit/p2p/{server_id}");
    let client = Running::start(&[&["client", "--remote", &remote, "--policy", "relay-only"][..], &NODE].concat(), &dirs[2]);
    let client_page = page(&client);
    client.wait_event("peer-ready");
    wait_until("rates and round trips", || {
        let status = status(&server_page);
        status["peers"]["total"] == 1
            && status["relays"]["shown"][0]["round-trip"].is_f64()
            && status["traffic"]["received-rate"] != 0.0
    });
    for (address, dir) in [&server_page, &client_page, &relay_page].into_iter().zip([&dirs[1], &dirs[2], &dirs[0]]) {
        let [mut by_page, mut by_its_socket] = [Vec::new(), Vec::new()];
        shape(&status(address), "", &mut by_page);
        shape(&by_socket(dir), "", &mut by_its_socket);
        assert_eq!(by_page, by_its_socket);
    }
    let of_client = status(&client_page);
    let peer = &of_client["peers"]["shown"][0];
    assert_eq!(peer["reason"], "the policy asks for the relay", "{peer}");
    let of_server = status(&server_page);
    assert_eq!(of_server["relays"]["shown"][0]["addresses"], json!([relay_address]));
    assert_eq!((&of_server["nat"]["mapping"], &of_server["moves"]), (&json!("unknown"), &json!([])));
    assert!(of_server["traffic"]["received"].as_u64() > Some(0), "{of_server}");
    let of_relay = status(&relay_page);
    assert_eq!((&of_relay["nat"], &of_relay["traffic"], &of_relay["circuits"]["total"]), (&Value::Null, &Value::Null, &json!(1)));
    assert!(get(&server_page, "/", "").1.contains("id=\"peers\""));
    assert_eq!([client.stop(), server.stop(), relay.stop()], [0, 0, 0]);
    assert!(TcpStream::connect(&server_page).is_err());
}

#[test]
fn a_token_is_read_from_a_private_file_and_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let name = file.to_str().unwrap();
    let args = [&["server"][..], &NODE, &["--web-token-file", name, "--redact"]].concat();
    let refused = kaspath(&args, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && text.contains("can be read by others") && text.contains("chmod 600"), "{text}");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Running::start(&args, dir.path());
    let address = page(&server);
    let (code, body) = get(&address, "/status.json", "");
    assert!(code == 401 && !body.contains("12D3KooW"), "{body}");
    let (code, body) = get(&address, "/status.json", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert!(code == 200 && body.contains("12D3KooW"), "{body}");
    assert_eq!(get(&address, "/healthz", "").0, 200);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_gateway_is_not_ready_without_its_kaspad_and_a_port_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = format!("127.0.0.1:{}", free_port());
    let gateway = Running::start(&[&["gateway", "--kaspad", &kaspad, "--kaspad-rpc", "off"][..], &NODE].concat(), dir.path());
    let address = page(&gateway);
    let (code, why) = get(&address, "/readyz", "");
    assert!(code == 503 && why.contains("kaspad cannot be reached") && why.contains(&kaspad), "{why}");
    let other = tempfile::tempdir().unwrap();
    let refused = kaspath(&["server", "-l", "/ip4/127.0.0.1/tcp/0", "--web-listen", &address], other.path()).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("--web-listen") && text.contains(&address), "{text}");
    assert_eq!(gateway.stop(), 0);
}
