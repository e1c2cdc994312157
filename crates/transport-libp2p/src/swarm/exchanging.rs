//! Carries exchanges of candidates on, each in a task of its own.

use std::collections::HashMap;

use futures::AsyncWriteExt;
use kaspath_domain::TransportAddress;
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};

use crate::{
    convert,
    core::{Input, OperationId},
    punch::exchange::{self, ExchangeError},
    streams::{OpenError, OpenStream},
};

/// The exchanges under way.
#[derive(Default)]
pub(super) struct Exchanges {
    /// Begun by peers; the core has not said yet whether they are answered.
    requested: HashMap<OperationId, (PeerId, Stream)>,
    running: HashMap<OperationId, Running>,
}

struct Running {
    task: AbortHandle,
    /// Ours: SYNC waits for this.
    synchronize: Option<oneshot::Sender<()>>,
}

pub(super) type Opened = oneshot::Receiver<Result<OpenStream, OpenError>>;

impl Exchanges {
    pub(super) fn requested(&mut self, exchange: OperationId, peer: PeerId, stream: Stream) {
        self.requested.insert(exchange, (peer, stream));
    }

    /// Begins an exchange on the stream that `opened` gives.
    pub(super) fn begin(
        &mut self,
        (exchange, peer): (OperationId, PeerId),
        opened: Opened,
        offer: Vec<TransportAddress>,
        tasks: &mut JoinSet<()>,
        inputs: mpsc::Sender<Input>,
    ) {
        let (sender, synchronize) = oneshot::channel();
        let task = tasks.spawn(async move {
            if let Err((unsupported, cause)) = initiate((exchange, peer), opened, &offer, synchronize, &inputs).await {
                let _ = inputs.send(Input::ExchangeFailed { exchange, unsupported, cause }).await;
            }
        });
        self.running.insert(exchange, Running { task, synchronize: Some(sender) });
    }

    /// Answers an exchange that a peer began.
    pub(super) fn respond(
        &mut self,
        exchange: OperationId,
        offer: Vec<TransportAddress>,
        tasks: &mut JoinSet<()>,
        inputs: mpsc::Sender<Input>,
    ) {
        let Some((peer, mut stream)) = self.requested.remove(&exchange) else { return };
        let task = tasks.spawn(async move {
            let end = match exchange::respond(&mut stream, &multiaddrs(&offer)).await {
                Ok(theirs) => Input::SyncReceived { exchange, theirs: candidates(&theirs, &peer) },
                Err(error) => Input::ExchangeFailed { exchange, unsupported: false, cause: error.to_string() },
            };
            let _ = inputs.send(end).await;
            let _ = stream.close().await;
        });
        self.running.insert(exchange, Running { task, synchronize: None });
    }

    pub(super) fn synchronize(&mut self, exchange: OperationId) {
        if let Some(go_on) = self.running.get_mut(&exchange).and_then(|running| running.synchronize.take()) {
            let _ = go_on.send(());
        }
    }

    /// Aborts one.
    pub(super) fn end(&mut self, exchange: OperationId) {
        self.requested.remove(&exchange);
        if let Some(running) = self.running.remove(&exchange) {
            running.task.abort();
        }
    }

    /// A task reports on its exchange; its last report ends the exchange, though the
    /// stream may still be closing.
    pub(super) fn heard(&mut self, input: &Input) {
        if let Input::SyncSent { exchange } | Input::SyncReceived { exchange, .. } | Input::ExchangeFailed { exchange, .. } =
            input
        {
            self.running.remove(exchange);
        }
    }
}

/// The initiator's side of one exchange, up to SYNC. An error says whether the peer lacks
/// DCUtR, and what broke.
async fn initiate(
    (exchange, peer): (OperationId, PeerId),
    opened: Opened,
    offer: &[TransportAddress],
    synchronize: oneshot::Receiver<()>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), (bool, String)> {
    let mut open = match opened.await {
        Ok(Ok(open)) => open,
        Ok(Err(error)) => return Err((matches!(error, OpenError::Unsupported), error.to_string())),
        Err(_) => return Err((false, "the connection closed".to_owned())),
    };
    let failed = |error: ExchangeError| (matches!(error, ExchangeError::Unsupported), error.to_string());
    let (theirs, rtt) = exchange::offer(&mut open.stream, &multiaddrs(offer)).await.map_err(failed)?;
    let _ = inputs.send(Input::Offered { exchange, theirs: candidates(&theirs, &peer), rtt }).await;
    if synchronize.await.is_err() {
        return Ok(());
    }
    exchange::synchronize(&mut open.stream).await.map_err(failed)?;
    let _ = inputs.send(Input::SyncSent { exchange }).await;
    let _ = open.stream.close().await;
    Ok(())
}

fn candidates(offered: &[Multiaddr], peer: &PeerId) -> Vec<TransportAddress> {
    offered.iter().filter_map(|address| convert::candidate(address, peer)).collect()
}

fn multiaddrs(addresses: &[TransportAddress]) -> Vec<Multiaddr> {
    addresses.iter().map(convert::to_multiaddr).collect()
}
