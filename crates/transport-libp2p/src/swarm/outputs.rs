//! Does what the core puts out.

use std::{io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use kaspath_domain::{PeerIdentity, RelayAddress, Transport, TransportAddress};
use libp2p::{
    Multiaddr,
    core::upgrade::NegotiationError,
    multiaddr::Protocol,
    ping,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use rand::random;
use tokio::time::timeout;

use super::{actor::Actor, errors::dial_error, reaching::stream};
use crate::{
    convert,
    core::{ConnId, DialKind, Input, OperationId, Output, RelaySays},
    limits::Class,
    punch,
    relay_control::{self, Frame},
    streams::{OpenError, OpenStream},
};

/// How long a relay may take for the answer to a probe. A session waits for it before it
/// dials anew, so it is short; a relay that is farther away is connected again in vain.
const PROBE_TIMEOUT: Duration = Duration::from_millis(700);
/// What a ping carries.
const PING_BYTES: usize = 32;

impl Actor {
    /// Does all that is to be done. What fails at once fails like what fails later.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.core.poll() {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Answer { waiter, result } => {
                if let Some(reply) = self.replies.remove(&waiter) {
                    let _ = reply.send(result);
                }
            }
            Output::Dial { dial, peer, addresses, kind } => self.dial_direct(dial, &peer, &addresses, kind),
            Output::DialCircuit { dial, relay, peer } => {
                let peer = convert::peer_id(&peer);
                let opts = DialOpts::peer_id(peer).addresses(vec![circuit(&relay).with(Protocol::P2p(peer))]);
                self.dial(dial, opts.condition(PeerCondition::Always).build(), Class::Circuit);
            }
            Output::Resolve { lookup, names } => self.resolve(lookup, names),
            Output::Probe { probe, id } => self.probe(probe, id),
            Output::Lease(peer) => self.swarm.behaviour_mut().streams.hold(convert::peer_id(&peer)),
            Output::Release(peer) => self.swarm.behaviour_mut().streams.release(convert::peer_id(&peer)),
            Output::Close(id) => {
                if let Some(connection) = self.ids.libp2p(id) {
                    self.swarm.close_connection(connection);
                }
            }
            Output::CloseIfUnused(id) => self.close_if_unused(id),
            Output::Reserve { request, relay } => self.reserve(request, &relay),
            Output::Control { control, id } => self.open_control(control, id),
            Output::Unreserve { request } => {
                if let Some(listener) = self.ids.listener(request) {
                    self.ids.listener_closed(listener);
                    self.swarm.remove_listener(listener);
                }
            }
            Output::Exchange { exchange, id, offer } => self.begin_exchange(exchange, id, offer),
            Output::Respond { exchange, offer } => {
                self.exchanges.respond(exchange, offer, &mut self.tasks, self.inputs_sender.clone());
            }
            Output::Synchronize { exchange } => self.exchanges.synchronize(exchange),
            Output::EndExchange { exchange } => self.exchanges.end(exchange),
            Output::Reason { id, reason } => {
                if let Some(connection) = self.ids.libp2p(id) {
                    self.swarm.behaviour_mut().streams.set_relay_reason(connection, reason);
                }
            }
            Output::AskReach { operation, on, address, nonce } => self.ask_reach(operation, on, &address, nonce),
            Output::DialBack { operation, id, nonce } => self.dial_back(operation, id, nonce),
            Output::DialBackDone { exchange, outcome } => self.dial_backs.done(exchange, outcome),
            Output::Reachability { address, state } => {
                let change = self.announcing.reached(&convert::to_multiaddr(&address), state);
                self.announce(change);
            }
            Output::Serve(is_reachable) => self.serve(is_reachable),
            Output::Report(event) => self.report(event),
        }
    }

    fn dial_direct(&mut self, dial: OperationId, peer: &PeerIdentity, addresses: &[TransportAddress], kind: DialKind) {
        let addresses: Vec<Multiaddr> = addresses.iter().map(convert::to_multiaddr).collect();
        let opts = DialOpts::peer_id(convert::peer_id(peer)).condition(PeerCondition::Always).addresses(addresses);
        let (opts, class) = match kind {
            DialKind::Peer => (opts, Class::Peer),
            DialKind::Relay => (opts, Class::Relay),
            DialKind::PunchAsListener(Transport::Tcp) => (opts.override_role(), Class::Punch),
            // To our QUIC transport "new port" in the listener's role means: random packets
            // from the listening socket.
            DialKind::PunchAsListener(Transport::Quic) => (opts.override_role().allocate_new_port(), Class::Punch),
            DialKind::PunchAsDialer { new_port: true } | DialKind::DialBack => (opts.allocate_new_port(), Class::Punch),
            DialKind::PunchAsDialer { new_port: false } => (opts, Class::Punch),
        };
        self.dial(dial, opts.build(), class);
    }

    fn dial(&mut self, dial: OperationId, opts: DialOpts, class: Class) {
        let connection = opts.connection_id();
        self.swarm.behaviour_mut().limits.expect(connection, class);
        self.ids.dialling(connection, dial);
        if let Err(error) = self.swarm.dial(opts) {
            self.on_dial_failed(connection, &error);
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        if let Some(dial) = self.ids.dialled(connection) {
            let error = dial_error(error);
            tracing::debug!(%error, "a dial failed");
            self.input(Input::DialFailed { dial, error });
        }
    }

    fn resolve(&mut self, lookup: OperationId, names: Vec<TransportAddress>) {
        let (resolver, inputs) = (self.resolver.clone(), self.inputs_sender.clone());
        self.tasks.spawn(async move {
            let lookups = names.into_iter().map(|name| async {
                let result = resolver.resolve(&name).await.map_err(|error| error.to_string());
                (name, result)
            });
            let results = join_all(lookups).await;
            let _ = inputs.send(Input::Resolved { lookup, results }).await;
        });
    }

    /// Asks the remote for an answer by the ping protocol, on a stream of its own.
    fn probe(&mut self, probe: OperationId, id: ConnId) {
        let opened = self.open(id, ping::PROTOCOL_NAME);
        let inputs = self.inputs_sender.clone();
        self.tasks.spawn(async move {
            let answer = async { answers(opened.await.map_err(drop)?).await.map_err(drop) };
            let is_alive = timeout(PROBE_TIMEOUT, answer).await.is_ok_and(|answer| answer.is_ok());
            let _ = inputs.send(Input::Probed { probe, is_alive }).await;
        });
    }

    /// Speaks the relay protocol on a link, with our token for that relay.
    fn open_control(&mut self, control: OperationId, id: ConnId) {
        let meta = self.ids.libp2p(id).and_then(|connection| self.swarm.behaviour().streams.connection(connection));
        let token = meta.and_then(|meta| self.relay_tokens.get(&convert::identity(&meta.peer)).cloned());
        let opened = self.open(id, relay_control::PROTOCOL);
        let inputs = self.inputs_sender.clone();
        self.tasks.spawn(async move {
            // No user of the connection: it may be closed while this stream is open.
            if let Some(mut stream) = stream(opened).await {
                stream.ignore_for_keep_alive();
                let heard = |frame| {
                    let inputs = inputs.clone();
                    async move {
                        if let Some(says) = says(frame) {
                            let _ = inputs.send(Input::RelayHeard { control, says }).await;
                        }
                    }
                };
                let end = relay_control::join(&mut stream, token, heard);
                let _: Result<(), io::Error> = end.await;
            }
            let _ = inputs.send(Input::ControlEnded { control }).await;
        });
    }

    fn close_if_unused(&mut self, id: ConnId) {
        let Some(connection) = self.ids.libp2p(id) else { return };
        let streams = &self.swarm.behaviour().streams;
        if streams.connection(connection).is_some_and(|meta| meta.traffic.is_idle()) {
            self.swarm.close_connection(connection);
        }
    }

    fn reserve(&mut self, request: OperationId, relay: &RelayAddress) {
        match self.swarm.listen_on(circuit(relay)) {
            Ok(listener) => self.ids.listening(listener, request),
            Err(error) => self.input(Input::ReservationEnded { request, cause: convert::error_chain(&error) }),
        }
    }

    fn begin_exchange(&mut self, exchange: OperationId, id: ConnId, offer: Vec<TransportAddress>) {
        let meta = self.ids.libp2p(id).and_then(|connection| self.swarm.behaviour().streams.connection(connection));
        let Some(peer) = meta.map(|meta| meta.peer) else {
            let cause = "the connection closed".to_owned();
            return self.input(Input::ExchangeFailed { exchange, unsupported: false, cause });
        };
        let opened = self.open(id, punch::PROTOCOL);
        self.exchanges.begin((exchange, peer), opened, offer, &mut self.tasks, self.inputs_sender.clone());
    }
}

/// A relay's frame, for the core. A relay says no hello.
fn says(frame: Frame) -> Option<RelaySays> {
    Some(match frame {
        Frame::Hello(_) => return None,
        Frame::Welcome => RelaySays::Welcome,
        Frame::Refused(why) => RelaySays::Refused(why.to_string()),
        Frame::Draining(left) => RelaySays::Draining(left),
        Frame::Neighbour(peer) => RelaySays::Neighbour(peer),
    })
}

/// Returns when the remote has answered, whatever it said.
async fn answers(opened: Result<OpenStream, OpenError>) -> io::Result<()> {
    let mut stream = match opened {
        Ok(open) => open.stream,
        // It speaks no ping, but it speaks.
        Err(OpenError::Unsupported) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    stream.write_all(&random::<[u8; PING_BYTES]>()).await?;
    stream.flush().await?;
    match stream.read_exact(&mut [0; PING_BYTES]).await {
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<NegotiationError>()) => Ok(()),
        read => read,
    }
}

/// The address of a relay's circuits.
fn circuit(relay: &RelayAddress) -> Multiaddr {
    convert::circuit(convert::to_multiaddr(&relay.via), convert::peer_id(&relay.relay))
}
