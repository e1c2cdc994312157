//! The end of a connection that its other side closes in order is no failure.

mod support;

use kaspath_domain::{PeerAddress, Route, Transport};
use kaspath_transport_libp2p::NetworkEvent;
use support::{await_event, config, dial, listening_over, start};

#[tokio::test]
async fn an_orderly_end_has_no_cause_over_each_transport() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (ours, theirs) = (start(config()).await, start(config()).await);
        let PeerAddress::Direct(address) = listening_over(&theirs, transport).address else { panic!("a direct address") };
        let mut events = ours.events();
        let _stream = dial(&ours, &theirs, Route::Direct(address)).await.unwrap();
        theirs.shutdown().await;
        let gone = await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
        assert!(matches!(&gone, NetworkEvent::Disconnected { cause: None, .. }), "{gone:?}");
    }
}
