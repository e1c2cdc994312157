//! The end of a connection that its other side closes in order is no failure.

mod support;

use kaspath_domain::Transport;
use kaspath_transport_libp2p::NetworkEvent;
use support::{await_event, config, dial, route, start};

#[tokio::test]
async fn an_orderly_end_has_no_cause_over_each_transport() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (ours, theirs) = (start(config()).await, start(config()).await);
        let mut events = ours.events();
        let _stream = dial(&ours, &theirs, route(&theirs, transport)).await.unwrap();
        theirs.shutdown().await;
        let gone = await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
        assert!(matches!(&gone, NetworkEvent::Disconnected { cause: None, .. }), "{gone:?}");
    }
}
