//! HTTP/1.1 to a router, with limits on whatever it answers. The caller bounds the time.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of a body, and of the headers before it.
const MAX_BODY: usize = 64 * 1024;
const MAX_HEADERS: usize = 16 * 1024;

/// Fetches a document.
pub(super) async fn get(host: SocketAddr, path: &str) -> Result<String, String> {
    request(host, Request::get(path), "").await
}

/// Sends a SOAP request. What the router says of it is in the body, whatever the status.
pub(super) async fn post(host: SocketAddr, path: &str, action: &str, body: &str) -> Result<String, String> {
    request(host, Request::post(path).header("SOAPAction", action).header("Content-Type", "text/xml; charset=\"utf-8\""), body)
        .await
}

async fn request(host: SocketAddr, request: hyper::http::request::Builder, body: &str) -> Result<String, String> {
    let request = request.header("Host", host.to_string()).header("Connection", "close");
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Limited::new(answer.into_body(), MAX_BODY).collect().await.map_err(|error| error.to_string())
    };
    tokio::pin!(answer, connection);
    // The connection moves the bytes, here and in no task, so that it ends with this future.
    let body = tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "the answer is no text".to_owned())
}
