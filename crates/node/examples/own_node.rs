//! A custom Kaspa node: it reaches a peer by its own policy, and takes the peer's
//! transactions by its own message flow instead of the light peer's.
//!
//! `own_node ADDRESS` prints the transactions that the peer at a multiaddr announces.

use std::time::Duration;

use kaspath_domain::{
    Attempt, AttemptOutcome, DialPlan, DialRequest, Moment, PeerAddress, PeerTarget, PlanRequest, PolicyError, Punching,
    RetryCadence, Route, Stage, TransportPolicy, TransportSet,
};
use kaspath_kaspa_adaptor::{
    CloseReason, KaspaNetwork, MessageKind, NodeConfig, Router,
    pb::{KaspadMessage, RequestTransactionsMessage, TransactionMessage, kaspad_message::Payload},
};
use kaspath_node::{NodeBuilder, transport::NodeKey};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Dials every address at once, and punches only over QUIC.
struct AllAtOnce;

impl TransportPolicy for AllAtOnce {
    fn name(&self) -> &'static str {
        "all-at-once"
    }

    fn plan(&self, request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        let attempts = request.addresses.iter().map(|locator| {
            let route = match &locator.address {
                PeerAddress::Direct(address) => Route::Direct(address.clone()),
                PeerAddress::Relayed(relay) => Route::Punched { relay: relay.clone(), transports: TransportSet::QUIC },
            };
            let request = DialRequest { peer: request.peer.clone(), route, timeout: Duration::from_secs(15) };
            Attempt { request, start_after: Duration::ZERO }
        });
        Ok(DialPlan { stages: vec![Stage { attempts: attempts.collect() }] })
    }

    fn observe(&self, _request: &PlanRequest, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punching(&self) -> Punching {
        Punching { transports: TransportSet::QUIC, cadence: RetryCadence::punch() }
    }
}

/// Asks for every transaction that the peer announces, until the session ends or
/// the receiver is closed.
async fn take_transactions(router: &Arc<Router>, taker: mpsc::Sender<TransactionMessage>) -> Result<(), CloseReason> {
    let kinds = [MessageKind::InvTransactions, MessageKind::Transaction, MessageKind::TransactionNotFound];
    let mut route = router.subscribe(&kinds);
    while !taker.is_closed() {
        let received = route.next().await?;
        match &received.message().payload {
            Some(Payload::InvTransactions(announced)) => {
                let request = RequestTransactionsMessage { ids: announced.ids.clone() };
                let payload = Some(Payload::RequestTransactions(request));
                router.send(KaspadMessage { request_id: 0, response_id: 0, payload }).await?;
            }
            Some(Payload::Transaction(transaction)) => {
                let _ = taker.send(transaction.clone()).await;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reaches the peer and hands its transactions to `taker`.
pub(crate) async fn run(target: PeerTarget, taker: mpsc::Sender<TransactionMessage>) -> Result<(), Box<dyn std::error::Error>> {
    let node = NodeBuilder::new(NodeKey::generate()).policy(Arc::new(AllAtOnce)).start().await?;
    let light = node.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
    let peer = light.connect(&target).await?;
    println!("Ready with {} over {}", peer.user_agent(), peer.router().path());
    let ended = take_transactions(peer.router(), taker).await;
    node.shutdown().await;
    Ok(ended?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("give a peer's address")?.parse()?;
    let (taker, mut transactions) = mpsc::channel::<TransactionMessage>(16);
    let printing = async {
        while let Some(transaction) = transactions.recv().await {
            println!("{} inputs, {} outputs", transaction.inputs.len(), transaction.outputs.len());
        }
    };
    tokio::join!(run(PeerTarget::at(address), taker), printing).0
}
