//! AutoNAT v2's messages and exchanges. A request for dial data is never sent, and never
//! answered: only addresses at which the node is connected are checked.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use kaspath_domain::TransportAddress;
use libp2p::Multiaddr;
use tokio::time::timeout;

use crate::{
    convert,
    core::{CheckAnswer, DialBackOutcome},
    wire,
};

/// Time for the answer to a request: others dial meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// Time for each other message.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(oneof = "Content", tags = "1, 2")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(message, tag = "1")]
    Request(DialRequest),
    #[prost(message, tag = "2")]
    Response(DialResponse),
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialRequest {
    /// Binary multiaddrs, the preferred first.
    #[prost(bytes = "vec", repeated, tag = "1")]
    addresses: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "2")]
    nonce: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialResponse {
    #[prost(enumeration = "Status", tag = "1")]
    status: i32,
    /// Of the address that was tried.
    #[prost(uint32, tag = "2")]
    index: u32,
    #[prost(enumeration = "DialStatus", tag = "3")]
    dial_status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Status {
    Internal = 0,
    Rejected = 100,
    Refused = 101,
    Ok = 200,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum DialStatus {
    Unused = 0,
    DialError = 100,
    DialBackError = 101,
    Ok = 200,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialBack {
    #[prost(fixed64, tag = "1")]
    nonce: u64,
}

/// Its one status is 0, which takes no bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct DialBackResponse {}

/// What a node asks a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The first of its addresses that the domain can express, and its place in the list.
    pub(crate) address: Option<(u32, TransportAddress)>,
    pub(crate) nonce: u64,
}

/// A relay's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// Not now, or nobody could be asked to dial.
    Rejected,
    /// Never there.
    Refused,
    /// The address with that place in the request was dialled.
    Dialled(u32, DialBackOutcome),
}

/// Asks a relay to have the address checked.
pub(crate) async fn ask<S>(stream: &mut S, address: &TransportAddress, nonce: u64) -> CheckAnswer
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = DialRequest { addresses: vec![convert::to_multiaddr(address).to_vec()], nonce };
    let answer = timeout(ANSWER_TIMEOUT, async {
        wire::send(stream, &Message { content: Some(Content::Request(request)) }).await?;
        wire::receive::<Message, _>(stream).await
    });
    let Ok(Ok(Message { content: Some(Content::Response(answer)) })) = answer.await else { return CheckAnswer::Nothing };
    match (answer.status(), answer.dial_status()) {
        (Status::Ok, DialStatus::Ok) => CheckAnswer::Reached,
        (Status::Ok, DialStatus::DialError) => CheckAnswer::NotReached,
        _ => CheckAnswer::Nothing,
    }
}

/// Reads what a node asks.
pub(crate) async fn receive_request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Request> {
    let message: Message = in_time(wire::receive(stream)).await?;
    let Some(Content::Request(DialRequest { addresses, nonce })) = message.content else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a dial request"));
    };
    let address = |bytes: Vec<u8>| {
        let address = Multiaddr::try_from(bytes).ok().filter(|address| !convert::is_relayed(address))?;
        convert::transport_address(&address)
    };
    // The spec has the list short; what is far behind was not preferred.
    let address = (0..).zip(addresses).take(8).find_map(|(index, bytes)| Some((index, address(bytes)?)));
    Ok(Request { address, nonce })
}

/// Answers a request, and closes.
pub(crate) async fn respond<S: AsyncWrite + Unpin>(stream: &mut S, response: Response) -> io::Result<()> {
    let (status, index, dial_status) = match response {
        Response::Rejected => (Status::Rejected, 0, DialStatus::Unused),
        Response::Refused => (Status::Refused, 0, DialStatus::Unused),
        Response::Dialled(index, DialBackOutcome::Reached) => (Status::Ok, index, DialStatus::Ok),
        Response::Dialled(index, DialBackOutcome::NotReached) => (Status::Ok, index, DialStatus::DialError),
        Response::Dialled(index, DialBackOutcome::NoStream) => (Status::Ok, index, DialStatus::DialBackError),
        Response::Dialled(_, DialBackOutcome::Refused) => (Status::Rejected, 0, DialStatus::Unused),
    };
    let answer = DialResponse { status: status.into(), index, dial_status: dial_status.into() };
    in_time(async {
        wire::send(stream, &Message { content: Some(Content::Response(answer)) }).await?;
        stream.close().await
    })
    .await
}

/// Shows the nonce to the node that was dialled.
pub(crate) async fn show_nonce<S>(stream: &mut S, nonce: u64) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        wire::send(stream, &DialBack { nonce }).await?;
        wire::receive::<DialBackResponse, _>(stream).await?;
        stream.close().await
    })
    .await
}

/// Takes the nonce that whoever dialled us shows, and thanks.
pub(crate) async fn take_nonce<S>(stream: &mut S) -> io::Result<u64>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        let DialBack { nonce } = wire::receive(stream).await?;
        wire::send(stream, &DialBackResponse {}).await?;
        Ok(nonce)
    })
    .await
}

pub(super) async fn in_time<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIMEOUT, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests;
