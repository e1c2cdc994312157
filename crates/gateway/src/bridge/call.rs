//! One call of `MessageStream`, as its client.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, Connection, ResponseFuture},
};
use http::{Request, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    bounds::{ANSWER, Bounds, FRAME, HEADERS, READ, RESETS, SEND_BUFFER},
    cause,
    guard::{Allowance, Guarded},
};

/// The one call of Kaspa's P2P. The authority means nothing to kaspad.
const TARGET: &str = "http://kaspad/protowire.P2P/MessageStream";

/// A call that the server has answered with its headers.
pub(super) struct Call<T> {
    link: Link<T>,
    /// What the server sends.
    pub(super) answer: RecvStream,
    /// What it is sent.
    pub(super) request: SendStream<Bytes>,
}

/// The connection below a call, which moves only while it is polled.
struct Link<T> {
    connection: Option<Connection<Guarded<T>, Bytes>>,
    allowance: std::sync::Arc<Allowance>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    /// Ready when the connection has ended, and why if not in order.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        let ended = Pin::new(connection).poll(cx);
        if ended.is_ready() {
            self.connection = None;
        }
        ended
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let ended = self.poll(cx);
        if self.allowance.renew() {
            cx.waker().wake_by_ref();
        }
        ended
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Call<T> {
    /// Makes the call over a connection that nothing was said on yet. Why not, for a
    /// server that is none, refuses or is silent.
    pub(super) async fn open(io: T, bounds: Bounds) -> Result<Self, String> {
        timeout(ANSWER, Self::opened(io, bounds)).await.map_err(|_| format!("it has not answered in {} s", ANSWER.as_secs()))?
    }

    async fn opened(io: T, bounds: Bounds) -> Result<Self, String> {
        let allowance = Allowance::new();
        let guarded = Guarded { inner: io, allowance: allowance.clone() };
        let handshake = Builder::new()
            .initial_window_size(bounds.window)
            .initial_connection_window_size(bounds.window)
            .max_frame_size(FRAME)
            .max_header_list_size(HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_streams(0)
            .max_local_error_reset_streams(Some(RESETS))
            .data_frame_budget(bounds.small_frames)
            .enable_push(false)
            .handshake(guarded);
        let (requests, connection) = handshake.await.map_err(|error| told(&error))?;
        let mut link = Link { connection: Some(connection), allowance };
        let mut requests = requests.ready().await.map_err(|error| told(&error))?;
        let (mut answering, request) = requests.send_request(head(), false).map_err(|error| told(&error))?;
        // Dropped, so that the connection ends with its one call.
        drop(requests);
        let answer = poll_fn(|cx| link.poll_answer(&mut answering, cx)).await?;
        match cause::refusal(&answer) {
            Some(cause) => Err(cause),
            None => Ok(Self { link, answer: answer.into_body(), request }),
        }
    }

    /// Moves the connection, with a turn's bytes at most. Ready once it has ended, and why if
    /// not in order.
    pub(super) fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.link.poll_turn(cx).map_err(|error| told(&error))
    }

    /// Ends the call: the server sees the end of the request. Returns when it has taken
    /// note.
    pub(super) async fn end(mut self) {
        // A call that has failed takes no more.
        let _ = self.request.send_data(Bytes::new(), true);
        let Self { mut link, mut answer, request } = self;
        drop(request);
        let mut answered = false;
        let _ = poll_fn(|cx| {
            let ended = link.poll_turn(cx);
            while !answered {
                match answer.poll_data(cx) {
                    Poll::Ready(Some(Ok(bytes))) => drop(answer.flow_control().release_capacity(bytes.len())),
                    Poll::Ready(_) => answered = true,
                    Poll::Pending => break,
                }
            }
            if answered { Poll::Ready(Ok(())) } else { ended }
        })
        .await;
        drop(answer);
        let _ = poll_fn(|cx| link.poll_turn(cx)).await;
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    fn poll_answer(
        &mut self,
        answering: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::Response<RecvStream>, String>> {
        let ended = self.poll(cx);
        if let Poll::Ready(answer) = Pin::new(answering).poll(cx) {
            return Poll::Ready(answer.map_err(|error| told(&error)));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err("it closed the connection without an answer".into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(told(&error))),
            Poll::Pending if self.allowance.is_exhausted() => Poll::Ready(Err(format!("it sends {READ} bytes and no answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn head() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(TARGET);
    let headers = request.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/grpc"),
        (header::TE, "trailers"),
        // Messages say themselves whether they are compressed: this allows both servers to.
        (header::HeaderName::from_static("grpc-encoding"), "gzip"),
        (header::HeaderName::from_static("grpc-accept-encoding"), "gzip,identity"),
        (header::USER_AGENT, "kaspath"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    request
}

/// h2's words for what went wrong.
pub(super) fn told(error: &h2::Error) -> String {
    error.to_string()
}
