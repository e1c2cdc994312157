//! A server on loopback, and requests byte by byte.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kaspath_web::{Changes, Content, Token, Web};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// More than the server gives anybody.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) changes: Changes,
    pub(crate) ready: Arc<Mutex<Result<(), String>>>,
    /// How often the status was made.
    pub(crate) made: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

/// The token, from a file.
pub(crate) fn token() -> Token {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), TOKEN).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
    Token::read(file.path()).unwrap()
}

/// A server; its status is how often it was made, with a text that could be HTML.
pub(crate) fn server(token: Option<Token>) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let web = runtime.block_on(async { Web::bind((Ipv4Addr::LOCALHOST, 0).into(), token) }).unwrap();
    let (changes, ready, made) = (Changes::default(), Arc::new(Mutex::new(Ok(()))), Arc::new(AtomicU64::new(0)));
    let (count, is_ready) = (made.clone(), ready.clone());
    let content = Content {
        status: Arc::new(move || format!("{{\"made\":{},\"agent\":\"<img src=x>\"}}", count.fetch_add(1, Ordering::Relaxed) + 1)),
        ready: Arc::new(move || is_ready.lock().unwrap().clone()),
        metrics: Some(Arc::new(|| "kaspath_up 1\n".to_owned())),
        changes: changes.clone(),
    };
    let address = web.address();
    runtime.spawn(web.serve(content));
    Server { address, changes, ready, made, _runtime: runtime }
}

impl Server {
    pub(crate) fn open(&self) -> TcpStream {
        self.open_from(Ipv4Addr::LOCALHOST)
    }

    /// A connection from another address of this machine.
    pub(crate) fn open_from(&self, from: Ipv4Addr) -> TcpStream {
        let stream = if from == Ipv4Addr::LOCALHOST {
            TcpStream::connect(self.address).unwrap()
        } else {
            connect_from(from, self.address)
        };
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// What comes back for these bytes, until the server closes.
    pub(crate) fn send(&self, request: &[u8]) -> Reply {
        self.send_from(Ipv4Addr::LOCALHOST, request)
    }

    pub(crate) fn send_from(&self, from: Ipv4Addr, request: &[u8]) -> Reply {
        let mut stream = self.open_from(from);
        // A server that has refused already does not read the rest.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Reply::parse(&bytes)
    }

    /// Asks for a path with these further header lines.
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Reply {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes())
    }
}

fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// An answer; without a status if there was none.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: Option<u16>,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }
}
