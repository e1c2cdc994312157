use std::{sync::Arc, time::Duration};

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind,
    pb::{AddressesMessage, RequestAddressesMessage, kaspad_message::Payload},
};

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, KaspaEvent, Peer, Router, book, session::Route};

/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Asks once for addresses and answers once. kaspad ends a session that sends
/// Addresses twice or unasked, so a second request gets no second answer.
pub(super) struct Addresses {
    requests: Route,
    answers: Route,
}

impl Addresses {
    pub(super) fn subscribe(router: &Arc<Router>) -> Self {
        Self { requests: router.subscribe(&[Kind::RequestAddresses]), answers: router.subscribe(&[Kind::Addresses]) }
    }

    pub(super) async fn run(self, context: &Context, peer: &Arc<Peer>) -> Result<(), CloseReason> {
        tokio::try_join!(answer(self.requests, context, peer), ask(self.answers, context, peer))?;
        Ok(())
    }
}

async fn answer(mut requests: Route, context: &Context, peer: &Arc<Peer>) -> Result<(), CloseReason> {
    let request = requests.next().await?;
    let address_list = context.book.sample();
    peer.router().send(response(Payload::Addresses(AddressesMessage { address_list }), &request.message)).await?;
    loop {
        requests.next().await?;
    }
}

async fn ask(mut answers: Route, context: &Context, peer: &Arc<Peer>) -> Result<(), CloseReason> {
    let request = RequestAddressesMessage { include_all_subnetworks: false, subnetwork_id: None };
    peer.router().send(plain(Payload::RequestAddresses(request))).await?;
    let answer = answers.answer("our request for addresses", ANSWER_TIMEOUT).await?;
    let Some(Payload::Addresses(AddressesMessage { address_list })) = answer.message.payload else {
        return Err(bad("no Addresses"));
    };
    if address_list.len() > book::MAX_IN_MESSAGE {
        return Err(bad("more than 2500 addresses in one message"));
    }
    let count = address_list.iter().filter_map(book::from_wire).filter(|address| context.book.add(*address)).count();
    context.report(KaspaEvent::AddressesReceived { count, peer: peer.identity().cloned() });
    answers.next().await?;
    Err(bad("Addresses that nobody asked for"))
}
