use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::ready;
use libp2p::PeerId;
use quinn::rustls::pki_types::CertificateDer;
use tokio::time::{Sleep, sleep};

use super::{config::Terms, error::Error, gate::Permit, muxer::Connection};

/// A connection until its peer has proven its id. Dropping it closes the connection.
pub(crate) struct Handshake {
    connecting: quinn::Connecting,
    deadline: Pin<Box<Sleep>>,
    window: u32,
    /// An inbound one's slot at the gate.
    permit: Option<Permit>,
}

impl Handshake {
    /// Must be called within a tokio runtime.
    pub(super) fn new(connecting: quinn::Connecting, terms: Terms, permit: Option<Permit>) -> Self {
        Self { connecting, deadline: Box::pin(sleep(terms.timeout)), window: terms.window, permit }
    }
}

impl Future for Handshake {
    type Output = Result<(PeerId, Connection), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Poll::Ready(connection) = Pin::new(&mut this.connecting).poll(cx) else {
            ready!(this.deadline.as_mut().poll(cx));
            return Poll::Ready(Err(Error::HandshakeTimeout));
        };
        let connection = connection?;
        let peer = peer_id(&connection)?;
        let mut permit = this.permit.take();
        permit.iter_mut().for_each(Permit::establish);
        Poll::Ready(Ok((peer, Connection::new(connection, this.window, permit))))
    }
}

/// The peer of the certificate; TLS has verified that it holds the certificate's key,
/// and the certificate binds that to the peer id.
fn peer_id(connection: &quinn::Connection) -> Result<PeerId, Error> {
    let identity = connection.peer_identity().ok_or(Error::Certificate)?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| Error::Certificate)?;
    // The specification wants exactly one.
    let [certificate] = chain.as_slice() else { return Err(Error::Certificate) };
    let parsed = libp2p_tls::certificate::parse(certificate).map_err(|_| Error::Certificate)?;
    Ok(parsed.peer_id())
}
