//! What programs serve by HTTP in a host of the lab.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;

use crate::net::in_namespace;

const ANSWER: Duration = Duration::from_secs(10);

/// The body of an answer to a GET, asked for in the host's namespace.
pub(super) async fn get(namespace: &str, to: SocketAddr, path: &str) -> Result<String> {
    let (sender, answer) = oneshot::channel();
    let path = path.to_owned();
    drop(in_namespace(namespace, move || {
        // Nobody waits for it any more if this fails.
        let _ = sender.send(ask(to, &path));
        Ok(())
    }));
    answer.await.context("cannot enter the host")?
}

/// HTTP/1.0: the connection's end is the body's.
fn ask(to: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{path}: {status}: {body}");
    }
    Ok(body.to_owned())
}
