use std::{
    error::Error,
    future::{Ready, ready},
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use kaspa_p2p_lib::pb::p2p_client::P2pClient;
use kaspath_domain::{DuplexStream, clean};
use tokio::time::timeout;
use tonic::{
    body::Body,
    codec::CompressionEncoding,
    codegen::http::{self, Uri},
    transport::Endpoint,
};
use tower::{Service, ServiceBuilder};

use super::{
    Limits, OpenSession,
    io::CuttableIo,
    settings::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_HEADERS, MAX_RESETS, WINDOW, max_frame},
    tap::Tap,
};
use crate::{
    ConnectError,
    errors::MAX_REASON,
    wire::{Incoming, queue},
};

/// Time for the response headers, as in kaspad.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// A tonic connector that hands out one domain stream, once: for
/// `Endpoint::connect_with_connector` of any generated client.
#[derive(Clone, Debug)]
pub struct OneStream(Arc<Mutex<Option<CuttableIo>>>);

/// See [`OneStream`].
pub fn connector(stream: DuplexStream) -> OneStream {
    OneStream(Arc::new(Mutex::new(Some(CuttableIo::new(stream)))))
}

impl Service<Uri> for OneStream {
    type Response = TokioIo<CuttableIo>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // tonic reconnects by itself, which a single stream cannot.
        ready(stream.map(TokioIo::new).ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the stream has ended")))
    }
}

/// Opens Kaspa's message stream over a domain stream.
pub(crate) async fn open(stream: DuplexStream, limits: &Limits) -> Result<OpenSession, ConnectError> {
    let max_frame = max_frame(stream.info());
    let io = CuttableIo::new(stream);
    let info = io.info().clone();
    let connector = OneStream(Arc::new(Mutex::new(Some(io))));
    let opening = async {
        let channel = Endpoint::from_static("http://kaspa.invalid")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(max_frame)
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_max_local_error_reset_streams(MAX_RESETS)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|error| ConnectError::NotHttp2(chain(&error)))?;
        let tap = Tap::default();
        let tapping = tap.clone();
        let channel = ServiceBuilder::new()
            .map_response(move |response: http::Response<Body>| {
                let (head, mut body) = response.into_parts();
                tapping.tap(&head.headers, &mut body);
                http::Response::from_parts(head, body)
            })
            .service(channel);
        let mut client =
            P2pClient::new(channel).send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        let (outgoing, queued) = queue(limits.outgoing_queue, &limits.budget);
        client.message_stream(queued).await.map_err(|status| not_kaspa(&status))?;
        let tapped = tap.take().ok_or_else(|| ConnectError::NotKaspa("it sends no messages".to_owned()))?;
        Ok((Incoming::new(tapped.body, tapped.gzip, limits.max_message, &limits.budget), outgoing))
    };
    let opened = timeout(HEADERS_TIMEOUT, opening).await.unwrap_or(Err(ConnectError::Timeout(HEADERS_TIMEOUT)));
    match opened {
        Ok((incoming, outgoing)) => Ok(OpenSession { info, incoming, outgoing }),
        Err(error) => {
            info.cut.cancel();
            Err(error)
        }
    }
}

fn not_kaspa(status: &tonic::Status) -> ConnectError {
    match status.code() {
        tonic::Code::Unimplemented | tonic::Code::ResourceExhausted | tonic::Code::PermissionDenied => {
            ConnectError::NotKaspa(clean(status.message(), MAX_REASON))
        }
        _ => ConnectError::NotHttp2(status.source().map_or_else(|| clean(status.message(), MAX_REASON), chain)),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    clean(&text, MAX_REASON)
}
