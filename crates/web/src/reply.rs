//! Answers with the headers that each has.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Frame,
    header::{self, HeaderName, HeaderValue},
};

/// An answer.
pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Text for people.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub(crate) const JSON: &str = "application/json";
/// Server-sent events.
const EVENTS: &str = "text/event-stream";

/// The page is made of files of this server alone, shown in no other page, and nothing in it
/// can be sent anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every answer says.
const ALWAYS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// An answer that is whole.
pub(crate) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    with_headers(status, kind, Full::new(body.into()).boxed_unsync())
}

/// An answer of one line.
pub(crate) fn line(status: StatusCode, text: &str) -> Reply {
    whole(status, TEXT, format!("{text}\n"))
}

/// An answer that goes on.
pub(crate) fn events(events: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    let body = StreamBody::new(events.map(|event| Ok(Frame::data(event))));
    with_headers(StatusCode::OK, EVENTS, BodyExt::boxed_unsync(body))
}

/// Adds a header whose value is our own.
pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn with_headers(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers: &mut HeaderMap = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.extend(ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    reply
}
