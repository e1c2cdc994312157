use std::{
    future::ready,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use kaspa_p2p_lib::pb::{
    KaspadMessage,
    p2p_server::{P2p, P2pServer},
};
use kaspath_domain::{ListenError, StreamListener};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, body::Body, codec::CompressionEncoding, codegen::http, transport::Server};
use tower::util::MapRequestLayer;

use super::{
    Limits, OpenSession, StreamInfo,
    io::CuttableIo,
    settings::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_FRAME, MAX_HEADERS, MAX_RESETS, WINDOW},
    tap::Tap,
};
use crate::{
    session::Pending,
    wire::{Incoming, queue},
};

/// A connection that opens no message stream in this time is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection: Kaspa uses one.
const MAX_STREAMS: u32 = 1;

/// A listener's streams as tonic's `serve_with_incoming` takes them. Requests
/// carry a [`StreamInfo`] extension. Ends when the listener is closed.
pub fn incoming(listener: Arc<dyn StreamListener>) -> impl Stream<Item = Result<CuttableIo, io::Error>> + Send {
    stream::unfold(listener, |listener| async move {
        match listener.accept().await {
            Ok(stream) => Some((Ok(CuttableIo::new(stream)), listener)),
            Err(ListenError::Closed) => None,
            Err(error @ ListenError::Bind { .. }) => {
                tracing::warn!(%error, "listener");
                None
            }
        }
    })
}

struct Service {
    limits: Limits,
    sessions: mpsc::Sender<OpenSession>,
}

type Sending = Pin<Box<dyn Stream<Item = Result<KaspadMessage, Status>> + Send>>;

#[tonic::async_trait]
impl P2p for Service {
    type MessageStreamStream = Sending;

    async fn message_stream(&self, request: Request<Streaming<KaspadMessage>>) -> Result<Response<Sending>, Status> {
        let extensions = request.extensions();
        let info = extensions.get::<StreamInfo>().cloned().ok_or_else(|| Status::internal("no stream info"))?;
        if info.in_use.swap(true, Ordering::Relaxed) {
            return Err(Status::resource_exhausted("a connection has one message stream"));
        }
        let tapped = extensions.get::<Tap>().and_then(Tap::take).ok_or_else(|| Status::internal("no body"))?;
        let Limits { outgoing_queue, max_message, budget } = &self.limits;
        let (outgoing, queued) = queue(*outgoing_queue, budget);
        let incoming = Incoming::new(tapped.body, tapped.gzip, *max_message, budget);
        // The bound of this queue is the bound of handshakes under way.
        let session = OpenSession { info, incoming, outgoing };
        self.sessions.try_send(session).map_err(|_| Status::resource_exhausted("too many handshakes under way"))?;
        Ok(Response::new(Box::pin(queued.map(Ok))))
    }
}

/// Takes a request's body out of tonic's hands.
fn tap(request: http::Request<Body>) -> http::Request<Body> {
    let (mut head, mut body) = request.into_parts();
    let tap = Tap::default();
    tap.tap(&head.headers, &mut body);
    head.extensions.insert(tap);
    http::Request::from_parts(head, body)
}

/// Serves Kaspa's message stream on every stream of a listener, until the
/// listener ends or `stop` is cancelled. Sessions go to `sessions`. A connection
/// has a slot in `pending` from its first byte, or is closed.
pub(crate) async fn serve(
    listener: Arc<dyn StreamListener>,
    limits: Limits,
    pending: Pending,
    sessions: mpsc::Sender<OpenSession>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = P2pServer::new(Service { limits, sessions })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let streams = incoming(listener).filter_map(move |stream| ready(with_slot(stream, &pending)));
    Server::builder()
        .layer(MapRequestLayer::new(tap as fn(_) -> _))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .add_service(service)
        .serve_with_incoming_shutdown(streams, stop.cancelled_owned())
        .await
}

/// A connection without a slot is dropped, which closes it.
fn with_slot(stream: Result<CuttableIo, io::Error>, pending: &Pending) -> Option<Result<CuttableIo, io::Error>> {
    let io = match stream {
        Ok(io) => io,
        Err(error) => return Some(Err(error)),
    };
    let Some(slot) = pending.take(&io.info().info, &io.info().path.current()) else {
        tracing::debug!(info = %io.info().info, "too many handshakes under way");
        return None;
    };
    let io = io.with_slot(slot);
    close_if_idle(io.info());
    Some(Ok(io))
}

/// A peer that connects and asks for nothing would hold a slot for ever.
fn close_if_idle(info: &StreamInfo) {
    let info = info.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = info.cut.cancelled() => {}
            () = sleep(FIRST_REQUEST_TIMEOUT) => {
                if !info.in_use.load(Ordering::Relaxed) {
                    info.cut.cancel();
                }
            }
        }
    });
}
