//! A server of `MessageStream`, as kaspad is one.

use bytes::Bytes;
use h2::{RecvStream, SendStream, server};
use http::{HeaderMap, Response, request};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::timeout,
};

use super::DEADLINE;

/// One call, at its server.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) request: RecvStream,
    pub(crate) answer: SendStream<Bytes>,
    pub(crate) connection: Driven,
}

/// What moves a connection, until it is dropped.
pub(crate) struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Call {
    /// Answers the one call of a connection.
    pub(crate) async fn answered(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self::answered_with(io, &server::Builder::new(), "application/grpc").await
    }

    /// Answers it with this kind of content, and windows of its own.
    pub(crate) async fn answered_with(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        settings: &server::Builder,
        kind: &'static str,
    ) -> Self {
        let (head, request, mut respond, connection) = taken(io, settings).await;
        let response = Response::builder().header("content-type", kind).body(()).unwrap();
        let answer = respond.send_response(response, false).unwrap();
        Self { head, request, answer, connection: Driven(connection) }
    }

    /// Refuses it by headers alone.
    pub(crate) async fn refused(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, status: &str, message: &str) {
        let (_, request, mut respond, connection) = taken(io, &server::Builder::new()).await;
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response.header("grpc-status", status).header("grpc-message", message).body(()).unwrap();
        respond.send_response(response, true).unwrap();
        drop((request, respond));
        timeout(DEADLINE, connection).await.unwrap().unwrap();
    }

    /// Sends, as far as the other end takes it.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) {
        send(&mut self.answer, bytes.into()).await;
    }

    /// The next bytes; none at the end.
    pub(crate) async fn received(&mut self) -> Result<Option<Bytes>, h2::Error> {
        received(&mut self.request).await
    }

    /// So many bytes.
    pub(crate) async fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            bytes.extend_from_slice(&self.received().await.unwrap().expect("more bytes"));
        }
        bytes
    }

    /// Ends its answer with this status.
    pub(crate) fn end(&mut self, status: &str, message: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        self.answer.send_trailers(trailers).unwrap();
    }
}

/// Sends, as far as the other end takes it.
pub(crate) async fn send(to: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        to.reserve_capacity(bytes.len());
        let room = match to.capacity() {
            0 => std::future::poll_fn(|cx| to.poll_capacity(cx)).await.expect("an open call").unwrap(),
            room => room,
        };
        to.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
    }
}

/// The next bytes; none at the end.
pub(crate) async fn received(from: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    loop {
        let next = timeout(DEADLINE, from.data()).await.expect("bytes, or an end");
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        from.flow_control().release_capacity(bytes.len())?;
        // The end may come as a frame without bytes.
        if !bytes.is_empty() {
            return Ok(Some(bytes));
        }
    }
}

async fn taken(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    settings: &server::Builder,
) -> (request::Parts, RecvStream, server::SendResponse<Bytes>, JoinHandle<()>) {
    let mut connection = timeout(DEADLINE, settings.handshake(io)).await.unwrap().unwrap();
    let (request, respond) = timeout(DEADLINE, connection.accept()).await.unwrap().expect("a call").unwrap();
    let connection = tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
    let (head, request) = request.into_parts();
    (head, request, respond, connection)
}
