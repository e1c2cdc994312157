use std::time::Duration;

use kaspa_p2p_lib::pb::{AddressesMessage, RequestAddressesMessage, kaspad_message::Payload};

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, KaspaEvent, Peer, book, session::Route};

/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers once. kaspad ends a session that sends Addresses twice, so a second request
/// gets no answer.
pub(super) async fn serve(mut requests: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    let request = requests.next().await?;
    let address_list = context.book.sample();
    peer.router().send(response(Payload::Addresses(AddressesMessage { address_list }), &request.message)).await?;
    loop {
        requests.next().await?;
    }
}

/// Asks once for addresses.
pub(super) async fn fetch(mut answers: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
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
