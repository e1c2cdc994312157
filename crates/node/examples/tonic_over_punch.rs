//! Any tonic service over streams that Kaspath opens, punched behind NATs; here an echo.
//! `tonic_over_punch RELAY` serves, and prints the address by which another one calls it.

use std::{error::Error, sync::Arc};

use kaspath_domain::{PeerAddress, PeerConnector, PeerLocator, PeerTarget, StreamListener};
use kaspath_kaspa_adaptor::pb::{KaspadMessage, p2p_client::P2pClient, p2p_server as server};
use kaspath_kaspa_adaptor::{connector, incoming};
use kaspath_node::{NodeBuilder, transport};
use tonic::{Request, Response, Status, Streaming};

struct Echo;

#[tonic::async_trait]
impl server::P2p for Echo {
    type MessageStreamStream = Streaming<KaspadMessage>;

    async fn message_stream(
        &self,
        request: Request<Self::MessageStreamStream>,
    ) -> Result<Response<Self::MessageStreamStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// Serves every stream that a peer opens.
pub(crate) async fn serve(listener: Arc<dyn StreamListener>) -> Result<(), tonic::transport::Error> {
    let service = server::P2pServer::new(Echo);
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming(listener)).await
}

/// Calls the service of one peer; its answer.
pub(crate) async fn call(
    peers: &dyn PeerConnector,
    peer: &PeerTarget,
    message: KaspadMessage,
) -> Result<Option<KaspadMessage>, Box<dyn Error>> {
    let stream = peers.connect(peer).await?;
    println!("the stream is {}", stream.path());
    let channel =
        tonic::transport::Endpoint::from_static("http://peer.invalid").connect_with_connector(connector(stream)).await?;
    Ok(P2pClient::new(channel).message_stream(tokio_stream::once(message)).await?.into_inner().message().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: PeerLocator = std::env::args().nth(1).ok_or("give an address")?.parse()?;
    let listen = vec!["/ip4/0.0.0.0/tcp/0".parse()?, "/ip4/0.0.0.0/udp/0/quic-v1".parse()?];
    let serves = matches!(given.address, PeerAddress::Direct(_));
    let relays = if serves { vec![given.clone()] } else { vec![] };
    let network = transport::NetworkConfig { listen, relays, ..Default::default() };
    let node = NodeBuilder::new(transport::NodeKey::generate()).network(network).start().await?;
    if serves {
        println!("call me at {given}/p2p-circuit/p2p/{}", node.network().local_peer());
        return Ok(serve(node.listener()).await?);
    }
    println!("{:?}", call(&node.connector(), &PeerTarget::at(given), KaspadMessage::default()).await?);
    Ok(())
}
