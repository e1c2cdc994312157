use kaspa_p2p_lib::pb::{
    AddressesMessage, BlockHeader, BlockLevelParents, BlockMessage, Hash, InvTransactionsMessage, NetAddress, PingMessage,
    RequestPruningPointProofMessage, TransactionId, TransactionInput, TransactionMessage, TransactionOutput, VersionMessage,
};

use super::*;

fn encoded(payload: Payload) -> Vec<u8> {
    KaspadMessage { response_id: 3, request_id: 4, payload: Some(payload) }.encode_to_vec()
}

fn scanned(payload: Payload) -> Scanned {
    scan(&encoded(payload), usize::MAX).unwrap()
}

#[test]
fn every_kind_that_flows_use_is_known_by_its_number() {
    // What prost writes is what the table reads.
    let kinds = [
        Payload::Addresses(Default::default()),
        Payload::Block(Default::default()),
        Payload::Transaction(Default::default()),
        Payload::RequestAddresses(Default::default()),
        Payload::RequestRelayBlocks(Default::default()),
        Payload::RequestTransactions(Default::default()),
        Payload::InvRelayBlock(Default::default()),
        Payload::InvTransactions(Default::default()),
        Payload::Ping(Default::default()),
        Payload::Pong(Default::default()),
        Payload::Verack(Default::default()),
        Payload::Version(Default::default()),
        Payload::TransactionNotFound(Default::default()),
        Payload::Reject(Default::default()),
        Payload::Ready(Default::default()),
    ];
    assert_eq!(kinds.len(), KINDS.len());
    for payload in kinds {
        let kind = Kind::from(&payload);
        assert_eq!(scanned(payload).kind, Some(kind));
    }
    assert_eq!(scanned(Payload::RequestPruningPointProof(RequestPruningPointProofMessage {})).kind, None);
}

#[test]
fn empty_entries_count_with_the_memory_of_their_structs() {
    let many = 10_000;
    let hashes = || vec![Hash::default(); many];
    let parents = vec![BlockLevelParents { parent_hashes: hashes(), ..Default::default() }];
    let header = BlockHeader { parents, ..Default::default() };
    let transaction = TransactionMessage { outputs: vec![TransactionOutput::default(); many], ..Default::default() };
    let hostile = [
        (Payload::Addresses(AddressesMessage { address_list: vec![NetAddress::default(); many] }), size_of::<NetAddress>()),
        (Payload::InvTransactions(InvTransactionsMessage { ids: vec![TransactionId::default(); many] }), size_of::<Hash>()),
        (Payload::Block(BlockMessage { header: Some(header), transactions: vec![] }), size_of::<Hash>()),
        (
            Payload::Block(BlockMessage { header: None, transactions: vec![TransactionMessage::default(); many] }),
            size_of::<TransactionMessage>(),
        ),
        (
            Payload::Transaction(TransactionMessage { inputs: vec![TransactionInput::default(); many], ..Default::default() }),
            size_of::<TransactionInput>(),
        ),
        (Payload::Block(BlockMessage { header: None, transactions: vec![transaction] }), size_of::<TransactionOutput>()),
    ];
    for (payload, size) in hostile {
        let bytes = encoded(payload);
        assert!(bytes.len() < 3 * many, "two bytes an entry: {}", bytes.len());
        assert!(scan(&bytes, usize::MAX).unwrap().memory >= many * size);
        assert_eq!(scan(&bytes, 64 << 10), Err(WireError::TooLarge { limit: 64 << 10 }));
    }
}

#[test]
fn a_vectors_first_entry_counts_with_the_room_that_comes_with_it() {
    // Found by fuzzing: room for four where two were counted.
    let transaction = TransactionMessage { inputs: vec![TransactionInput::default()], ..Default::default() };
    let memory = scanned(Payload::Transaction(transaction)).memory;
    assert!(memory >= size_of::<KaspadMessage>() + 4 * size_of::<TransactionInput>());
}

#[test]
fn honest_messages_fit() {
    let version = VersionMessage {
        id: vec![1; 16],
        user_agent: "/kaspad:2.1.0/".repeat(18),
        network: "kaspa-mainnet".into(),
        address: Some(NetAddress { ip: vec![1; 16], port: 1, timestamp: 1 }),
        ..Default::default()
    };
    assert!(scanned(Payload::Version(version)).memory < 2000);
    let address_list = vec![NetAddress { ip: vec![1; 16], port: 16111, timestamp: 0 }; 2500];
    assert!(scanned(Payload::Addresses(AddressesMessage { address_list })).memory < 1 << 20);
}

#[test]
fn what_is_no_message_is_told_apart() {
    let ping = encoded(Payload::Ping(PingMessage { nonce: 7 }));
    for cut in 1..ping.len() {
        // A cut within a later field is malformed, one between fields is shorter.
        let _ = scan(&ping[..cut], usize::MAX);
    }
    assert_eq!(scan(&[], 1000), Err(WireError::Malformed("a message without payload")));
    assert_eq!(scan(&[0x82, 0x01, 0x05, 0x01], 1000), Err(MALFORMED), "longer than what is here");
    assert_eq!(scan(&[0xff; 11], 1000), Err(MALFORMED), "a number without end");
    assert_eq!(scan(&[0x0b], 1000), Err(MALFORMED), "a group");
    assert_eq!(scan(&[0x08, 0x01], 1000), Err(WireError::Malformed("a payload that is not a message")));
    let twice = [ping.clone(), ping].concat();
    assert_eq!(scan(&twice, 1000), Err(WireError::Malformed("a message with two payloads")));
}
