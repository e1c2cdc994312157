use std::io;

use async_trait::async_trait;
use kaspath_domain::{
    ConnectorError, DialRequest, MonotonicClock, Observers, Route, StreamDialer, StreamListener, Timestamp, TransportAddress,
    memory::{AdmitAll, MemoryDialer, MemoryPeerBook, memory_network},
};
use tokio::{io::AsyncReadExt, sync::mpsc};

use super::*;
use crate::{Gateway, GatewayParts, owner};

const DEADLINE: Duration = Duration::from_secs(10);

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

struct ByMemory(MemoryDialer);

#[async_trait]
impl PeerConnector for ByMemory {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let route = Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], 1).into()));
        let request = DialRequest { peer: target.peer.clone(), route, timeout: DEADLINE };
        Ok(self.0.dial(request).await.unwrap())
    }
}

/// The system's list, in which whoever connected is somebody else.
fn of_others() -> io::Result<String> {
    let altered = owner::sockets()?
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if fields.len() > 7 && fields[3] != "0A" {
                fields[7] = "4242";
            }
            fields.join(" ") + "\n"
        })
        .collect();
    Ok(altered)
}

#[tokio::test]
async fn a_process_of_another_user_gets_no_stream_to_the_peer() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut gateway = Gateway::new(GatewayParts {
        local: peer(1),
        kaspad: ([127, 0, 0, 1], 1).into(),
        network: "simnet".into(),
        port: 0,
        book: Arc::new(MemoryPeerBook::new(100)),
        newcomers: 16,
        admission: Arc::new(AdmitAll),
        rpc: None,
        clock: MonotonicClock::start(),
        wall_clock: Arc::new(Timestamp::default),
        observers: Observers::of(Arc::new(move |event: &GatewayEvent| drop(sender.send(event.clone())))),
    });
    let (dialer, listener) = memory_network(peer(1));
    let target = PeerTarget { peer: Some(peer(2)), ..PeerTarget::default() };
    let connector = Arc::new(ByMemory(dialer));
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listening.local_addr().unwrap();
    Arc::get_mut(&mut gateway.0).unwrap().sockets = of_others;
    let stream = connector.connect(&target).await.unwrap();
    let activity = Arc::new(Activity::new(stream.counters(), gateway.0.parts.clock.now()));
    let slot = gateway.0.sessions.enter(&peer(2), None, stream.path_watch(), activity).unwrap();
    let remote = Arc::new(Remote {
        shared: gateway.0.clone(),
        peer: peer(2),
        target,
        connector,
        local,
        parked: Mutex::new(Some(Parked { stream, slot })),
        taken: Notify::new(),
        is_forbidden: AtomicBool::new(false),
    });
    let accepting = tokio::spawn({
        let remote = remote.clone();
        async move { remote.accept(listening).await }
    });

    let mut stranger = TcpStream::connect(local).await.unwrap();
    let read = timeout(DEADLINE, stranger.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0, "it is sent away");
    let event = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
    let GatewayEvent::GatewayRefused { cause, .. } = event else { panic!("{event:?}") };
    assert!(cause.contains("user 4242"), "{cause}");
    assert!(remote.parked().is_some(), "the stream waits for kaspad still");
    let _remotes_end = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    accepting.abort();
}
