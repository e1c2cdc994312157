//! A libp2p connection without a swarm, so that nothing is sent but what is meant
//! to be, and nothing is read but what is asked for.

use std::{
    net::Ipv4Addr,
    task::{Context as TaskContext, Poll},
};

use anyhow::{Context, Result, bail};
use futures::future::poll_fn;
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, tcp, yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::wire;

/// Streams of the remote that may wait; more are refused.
const INBOUND: usize = 32;

/// An authenticated, multiplexed connection. Dropping it closes it.
pub(super) struct Connection {
    commands: mpsc::Sender<Command>,
    inbound: mpsc::Receiver<SubstreamBox>,
    driver: JoinHandle<()>,
}

enum Command {
    Open(oneshot::Sender<SubstreamBox>),
    Freeze,
}

/// The usual address of a program of the lab.
pub(super) fn address(ip: Ipv4Addr, over_quic: bool) -> Multiaddr {
    let address = Multiaddr::empty().with(Protocol::Ip4(ip));
    if over_quic { address.with(Protocol::Udp(4001)).with(Protocol::QuicV1) } else { address.with(Protocol::Tcp(4001)) }
}

impl Connection {
    /// Dials with this key.
    pub(super) async fn open(key: &Keypair, to: Multiaddr) -> Result<Self> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let (_, muxer) = if to.iter().any(|part| part == Protocol::QuicV1) {
            let transport = quic::tokio::Transport::new(quic::Config::new(key));
            let mut transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
            transport.dial(to, options)?.await?
        } else {
            let mut transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(key)?)
                .multiplex(yamux::Config::default())
                .boxed();
            transport.dial(to, options)?.await?
        };
        let (commands, asked) = mpsc::channel(4);
        let (accepted, inbound) = mpsc::channel(INBOUND);
        let driver = tokio::spawn(drive(muxer, asked, accepted));
        Ok(Self { commands, inbound, driver })
    }

    /// A new stream, on which nothing is agreed yet.
    pub(super) async fn stream(&self) -> Result<SubstreamBox> {
        let (reply, stream) = oneshot::channel();
        self.commands.send(Command::Open(reply)).await.ok().context("the connection has ended")?;
        stream.await.context("the connection has ended")
    }

    /// A new stream on which a protocol is proposed, whatever the answer will be.
    pub(super) async fn speak(&self, protocol: &str) -> Result<SubstreamBox> {
        let mut stream = self.stream().await?;
        wire::propose(&mut stream, protocol).await?;
        Ok(stream)
    }

    /// The next stream that the remote opens.
    pub(super) async fn accept(&mut self) -> Result<SubstreamBox> {
        self.inbound.recv().await.context("the connection has ended")
    }

    /// Returns when the other side has ended it.
    pub(super) async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Leaves it open, and neither reads nor writes any more.
    pub(super) async fn freeze(&self) -> Result<()> {
        if self.commands.send(Command::Freeze).await.is_err() {
            bail!("the connection has ended");
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

enum Step {
    Command(Option<Command>),
    Inbound(SubstreamBox),
    Outbound(SubstreamBox),
    Ended,
}

fn step(
    muxer: &mut StreamMuxerBox,
    commands: &mut mpsc::Receiver<Command>,
    wanted: bool,
    cx: &mut TaskContext<'_>,
) -> Poll<Step> {
    while let Poll::Ready(event) = muxer.poll_unpin(cx) {
        if event.is_err() {
            return Poll::Ready(Step::Ended);
        }
    }
    if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
        return Poll::Ready(stream.map_or(Step::Ended, Step::Inbound));
    }
    if wanted {
        return muxer.poll_outbound_unpin(cx).map(|stream| stream.map_or(Step::Ended, Step::Outbound));
    }
    commands.poll_recv(cx).map(Step::Command)
}

async fn drive(mut muxer: StreamMuxerBox, mut commands: mpsc::Receiver<Command>, accepted: mpsc::Sender<SubstreamBox>) {
    let mut waiting: Option<oneshot::Sender<SubstreamBox>> = None;
    loop {
        match poll_fn(|cx| step(&mut muxer, &mut commands, waiting.is_some(), cx)).await {
            Step::Command(Some(Command::Open(reply))) => waiting = Some(reply),
            Step::Command(Some(Command::Freeze)) => return std::future::pending().await,
            Step::Inbound(stream) => drop(accepted.try_send(stream)),
            Step::Outbound(stream) => {
                if let Some(reply) = waiting.take() {
                    let _ = reply.send(stream);
                }
            }
            Step::Command(None) | Step::Ended => return,
        }
    }
}
