//! What an answer to `MessageStream` says: pure.

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};

/// Bytes of a server's own words that are passed on.
const WORDS: usize = 200;

/// Why the answer is none of Kaspa's P2P; nothing if it is one.
pub(super) fn refusal<B>(answer: &Response<B>) -> Option<String> {
    let headers = answer.headers();
    if answer.status() != StatusCode::OK {
        return Some(format!("it answers with HTTP status {}", answer.status().as_u16()));
    }
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return Some("it answers, but not with gRPC".into());
    }
    failure(headers)
}

/// Which failure gRPC's status names, if it does.
pub(super) fn failure(headers: &HeaderMap) -> Option<String> {
    let status = headers.get("grpc-status")?;
    let name = match status.as_bytes() {
        b"0" => return None,
        b"1" => "cancelled".into(),
        b"7" => "permission denied".into(),
        b"8" => "resource exhausted".into(),
        b"12" => "it has no Kaspa P2P service".into(),
        b"13" => "internal error".into(),
        b"14" => "unavailable".into(),
        other => format!("gRPC status {}", words(other)),
    };
    let message = headers.get("grpc-message").map(|message| words(message.as_bytes())).unwrap_or_default();
    Some(if message.is_empty() { name } else { format!("{name}: {message}") })
}

/// A remote's words: short, and printable ASCII alone.
fn words(bytes: &[u8]) -> String {
    let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    bytes.iter().take(WORDS).map(printable).collect()
}
