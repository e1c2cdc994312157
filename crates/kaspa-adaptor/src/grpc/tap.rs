//! tonic's generated client and server, without tonic's decoding: the body that a
//! peer sends is taken out on the way, and read by [`Incoming`](crate::wire::Incoming).

use std::sync::{Arc, Mutex, PoisonError};

use tonic::{body::Body, codegen::http};

/// Where a body that was taken out waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Tap(Arc<Mutex<Option<Tapped>>>);

/// A body that was taken out.
#[derive(Debug)]
pub(super) struct Tapped {
    pub(super) body: Body,
    /// Its messages may be compressed with gzip.
    pub(super) gzip: bool,
}

impl Tap {
    /// Takes a body out and leaves an empty one.
    pub(super) fn tap(&self, headers: &http::HeaderMap, body: &mut Body) {
        let gzip = headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip");
        let body = std::mem::replace(body, Body::empty());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Tapped { body, gzip });
    }

    /// The body, once.
    pub(super) fn take(&self) -> Option<Tapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
