use std::{
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
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding, transport::Server};

use super::{H2Settings, StreamInfo, io::CuttableIo};

/// A connection that opens no message stream in this time is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Message streams of one connection: Kaspa uses one.
const MAX_STREAMS: u32 = 4;

/// A message stream that a peer opened, before any message.
pub(crate) struct Session {
    pub(crate) info: StreamInfo,
    pub(crate) incoming: Streaming<KaspadMessage>,
    pub(crate) outgoing: mpsc::Sender<KaspadMessage>,
}

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
    queue: usize,
    sessions: mpsc::Sender<Session>,
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<KaspadMessage, Status>> + Send>>;

#[tonic::async_trait]
impl P2p for Service {
    type MessageStreamStream = Outgoing;

    async fn message_stream(&self, request: Request<Streaming<KaspadMessage>>) -> Result<Response<Outgoing>, Status> {
        let info = request.extensions().get::<StreamInfo>().cloned().ok_or_else(|| Status::internal("no stream info"))?;
        let (outgoing, queued) = mpsc::channel(self.queue);
        info.in_use.store(true, Ordering::Relaxed);
        let session = Session { info, incoming: request.into_inner(), outgoing };
        // The bound of this queue is the bound of handshakes under way.
        self.sessions.try_send(session).map_err(|_| Status::resource_exhausted("too many handshakes under way"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(queued).map(Ok))))
    }
}

/// Serves Kaspa's message stream on every stream of a listener, until the
/// listener ends or `stop` is cancelled. Sessions go to `sessions`.
pub(crate) async fn serve(
    listener: Arc<dyn StreamListener>,
    queue: usize,
    max_message: usize,
    sessions: mpsc::Sender<Session>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = P2pServer::new(Service { queue, sessions })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(max_message);
    let settings = H2Settings::muxed();
    let streams = incoming(listener).inspect(|stream| {
        if let Ok(io) = stream {
            close_if_idle(io.info());
        }
    });
    Server::builder()
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame)
        .http2_keepalive_interval(Some(settings.keepalive_interval))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(service)
        .serve_with_incoming_shutdown(streams, stop.cancelled_owned())
        .await
}

/// Who connects and asks for nothing would hold a place for ever.
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
