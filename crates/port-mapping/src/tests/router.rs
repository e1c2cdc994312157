//! A router on a loopback address of its own, in this process.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::hints::shared;

/// What a router has and says.
pub(super) struct State {
    /// Its ports outside, by protocol number and port inside.
    pub(super) ports: BTreeMap<(u8, u16), u16>,
    pub(super) external: Ipv4Addr,
    pub(super) epoch: u32,
    pub(super) pcp: bool,
    pub(super) natpmp: bool,
    /// A port outside that is somebody else's.
    pub(super) taken: u16,
    /// IGD's error for it.
    pub(super) taken_error: u16,
    /// It grants leases without an end only.
    pub(super) permanent: bool,
}

pub(super) struct Router {
    pub(super) ip: Ipv4Addr,
    pub(super) state: Arc<Mutex<State>>,
    /// Connections to its HTTP server.
    pub(super) connections: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Router {
    /// One that says nothing, at an address of this process and `number`: its ports are fixed, and
    /// other processes may run these tests at the same time.
    pub(super) fn new(number: u8) -> Self {
        let state = State {
            ports: BTreeMap::new(),
            external: Ipv4Addr::new(192, 0, 1, 11),
            epoch: 100,
            pcp: false,
            natpmp: false,
            taken: 0,
            taken_error: 718,
            permanent: false,
        };
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 128 | low, number, 1 + (high & 0x7f));
        Self { ip, state: Arc::new(Mutex::new(state)), connections: Arc::default(), tasks: JoinSet::new() }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Answers at a UDP port of its own with whatever `reply` gives; also from another address.
    pub(super) async fn udp(
        &mut self,
        port: u16,
        from: Ipv4Addr,
        mut reply: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) {
        // The mapper of another test may listen on the port at all addresses.
        let socket = shared(self.ip, port).unwrap();
        let other = shared(from, if from == self.ip { 0 } else { port }).unwrap();
        let ip = self.ip;
        self.tasks.spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = reply(&buffer[..length]) {
                    let socket = if from == ip { &socket } else { &other };
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
    }

    /// Speaks PCP and NAT-PMP, as its state says.
    pub(super) async fn speak_udp(&mut self) {
        let state = self.state.clone();
        self.udp(crab_nat::GATEWAY_PORT, self.ip, move |request| answer(&mut state.lock().unwrap(), request)).await;
    }

    /// Speaks IGD.
    pub(super) async fn speak_igd(&mut self) {
        let server = self.http(|router, head, body| Some(http(&igd(&mut router.lock().unwrap(), head, body)))).await;
        let location = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{server}/root.xml\r\n\r\n");
        self.udp(1900, self.ip, move |_| Some(location.clone().into_bytes())).await;
    }

    /// An HTTP server that gives `reply`, or never ends its answer.
    pub(super) async fn http(
        &mut self,
        reply: impl Fn(&Mutex<State>, &str, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind((self.ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, connections, reply) = (self.state.clone(), self.connections.clone(), Arc::new(reply));
        self.tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (state, reply) = (state.clone(), reply.clone());
                served.spawn(async move {
                    let (head, body) = read_request(&mut stream).await;
                    match reply(&state, &head, &body) {
                        Some(answer) => drop(stream.write_all(&answer).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        address
    }
}

async fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => text.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
            _ => return (text, String::new()),
        }
    }
}

pub(super) fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// An answer of PCP or NAT-PMP.
pub(super) fn answer(state: &mut State, request: &[u8]) -> Option<Vec<u8>> {
    match request {
        [2, 1, ..] if state.pcp => Some(pcp(state, request)),
        [0, 0] if state.natpmp => {
            let mut answer = vec![0, 0x80, 0, 0];
            answer.extend(state.epoch.to_be_bytes());
            answer.extend(state.external.octets());
            Some(answer)
        }
        [0, operation @ 1..=2, ..] if state.natpmp => {
            let (internal, wanted) = (u16_at(request, 4), u16_at(request, 6));
            // Protocol numbers, as PCP has them.
            let protocol = if *operation == 1 { 17 } else { 6 };
            let external = map(state, protocol, internal, wanted, request[8..12] != [0; 4]);
            let mut answer = vec![0, 0x80 | operation, 0, 0];
            answer.extend(state.epoch.to_be_bytes());
            answer.extend(internal.to_be_bytes());
            answer.extend(external.to_be_bytes());
            answer.extend(&request[8..12]);
            Some(answer)
        }
        _ => None,
    }
}

fn pcp(state: &mut State, request: &[u8]) -> Vec<u8> {
    let (protocol, internal, wanted) = (request[36], u16_at(request, 40), u16_at(request, 42));
    let external = map(state, protocol, internal, wanted, request[4..8] != [0; 4]);
    let mut answer = vec![2, 0x81, 0, 0];
    answer.extend(&request[4..8]);
    answer.extend(state.epoch.to_be_bytes());
    answer.extend([0; 12]);
    answer.extend(&request[24..42]);
    answer.extend(external.to_be_bytes());
    answer.extend(state.external.to_ipv6_mapped().octets());
    answer
}

fn map(state: &mut State, protocol: u8, internal: u16, wanted: u16, wants: bool) -> u16 {
    if !wants {
        state.ports.remove(&(protocol, internal));
        return 0;
    }
    let external = if wanted == state.taken { wanted + 1 } else { wanted };
    state.ports.insert((protocol, internal), external);
    external
}

/// The text of an element.
fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, after) = body.split_once(&format!("<{name}>")).unwrap_or_default();
    after.split_once('<').unwrap_or_default().0
}

fn igd(state: &mut State, head: &str, body: &str) -> String {
    let envelope = |body: &str| {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{body}</s:Body></s:Envelope>"
        )
    };
    let response = |action: &str, inner: &str| {
        envelope(&format!(
            "<u:{action}Response xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">{inner}</u:{action}Response>"
        ))
    };
    let fault = |code: u16| {
        envelope(&format!(
            "<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}\
             </errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
        ))
    };
    if head.starts_with("GET /root.xml ") {
        return "<?xml version=\"1.0\"?><root><device><deviceList><device><serviceList><service><serviceType>\
                urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/control</controlURL></service>\
                </serviceList></device></deviceList></device></root>"
            .to_owned();
    }
    let protocol = if element(body, "NewProtocol") == "TCP" { 6 } else { 17 };
    let external: u16 = element(body, "NewExternalPort").parse().unwrap_or_default();
    match head {
        head if head.contains("#GetExternalIPAddress") => {
            response("GetExternalIPAddress", &format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", state.external))
        }
        head if head.contains("#AddPortMapping") => {
            if external == state.taken {
                fault(state.taken_error)
            } else if state.permanent && element(body, "NewLeaseDuration") != "0" {
                fault(725)
            } else {
                state.ports.insert((protocol, element(body, "NewInternalPort").parse().unwrap()), external);
                response("AddPortMapping", "")
            }
        }
        head if head.contains("#DeletePortMapping") => {
            state.ports.retain(|(of, _), port| (*of, *port) != (protocol, external));
            response("DeletePortMapping", "")
        }
        _ => fault(401),
    }
}
