//! The whole of it against routers in this process, honest and hostile ones.

mod router;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kaspath_domain::{MapMethod, MapProtocol, MapPurpose, MapRequest, Mapped, MappingEvent, PortMapper};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use self::router::{Router, answer, http};
use crate::{
    MapperConfig, RouterMapper, igd,
    machine::{Answer, Ask},
    methods::Methods,
    pcp::{self, Nonce},
    route::Route,
};

const TCP: MapRequest = MapRequest { protocol: MapProtocol::Tcp, port: 4011, purpose: MapPurpose::Peers };
const UDP: MapRequest = MapRequest { protocol: MapProtocol::Udp, port: 4011, purpose: MapPurpose::Peers };
const SECRET: [u8; 32] = [7; 32];
/// What the issue allows from the start of a mapper to a mapped port.
const IN_TIME: Duration = Duration::from_millis(1500);

fn route(router: &Router) -> Route {
    Route::through(router.ip).unwrap()
}

fn mapper(router: &Router) -> RouterMapper {
    let config = MapperConfig { requests: vec![TCP, UDP], methods: MapMethod::ALL.to_vec(), secret: SECRET };
    let route = route(router);
    RouterMapper::with_routes(config, Arc::new(move || Some(route)))
}

async fn next(mapper: &RouterMapper) -> MappingEvent {
    timeout(Duration::from_secs(5), mapper.next()).await.expect("an event")
}

async fn mapped(mapper: &RouterMapper) -> Mapped {
    match next(mapper).await {
        MappingEvent::Mapped(mapped) => mapped,
        other => panic!("{other:?}"),
    }
}

/// Both ports are mapped in time by that method, at the outside address that the router has.
async fn is_mapped_in_time(router: &Router, by: MapMethod) -> RouterMapper {
    let start = Instant::now();
    let mapper = mapper(router);
    for _ in 0..2 {
        let mapped = mapped(&mapper).await;
        let external = SocketAddr::new(router.with(|state| state.external).into(), mapped.request.port);
        assert_eq!((mapped.by, mapped.external), (by, external));
    }
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    assert_eq!(router.with(|state| state.ports.len()), 2);
    mapper
}

async fn is_removed_in_time(router: &Router, mapper: &RouterMapper) {
    let start = Instant::now();
    mapper.release().await;
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    assert_eq!(router.with(|state| state.ports.clone()), Default::default());
}

#[tokio::test]
async fn pcp_maps_in_time_follows_a_restart_and_leaves_nothing() {
    let mut router = Router::new(1);
    router.with(|state| (state.pcp, state.natpmp) = (true, true));
    router.speak_udp().await;
    router.speak_igd().await;
    let mapper = is_mapped_in_time(&router, MapMethod::Pcp).await;
    // It starts again: with another address, without our ports, and with one of them taken.
    router.with(|state| {
        state.ports.clear();
        (state.external, state.epoch, state.taken) = (Ipv4Addr::new(192, 0, 1, 12), 1, 4011);
    });
    let start = Instant::now();
    mapper.suspect();
    for _ in 0..2 {
        assert_eq!(mapped(&mapper).await.external.to_string(), "192.0.1.12:4012");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn nat_pmp_maps_in_time_where_pcp_gets_no_answer() {
    let mut router = Router::new(2);
    router.with(|state| state.natpmp = true);
    router.speak_udp().await;
    let mapper = is_mapped_in_time(&router, MapMethod::NatPmp).await;
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn igd_maps_in_time_where_the_others_get_no_answer() {
    let mut router = Router::new(3);
    router.speak_udp().await;
    router.speak_igd().await;
    let mapper = is_mapped_in_time(&router, MapMethod::Igd).await;
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn a_lease_without_end_and_a_taken_port_are_coped_with() {
    let mut router = Router::new(4);
    router.with(|state| (state.permanent, state.taken) = (true, 4011));
    router.speak_igd().await;
    let mapper = mapper(&router);
    let external = mapped(&mapper).await.external.port();
    assert!(external >= 0x8000, "{external}");
    mapped(&mapper).await;
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn a_port_that_something_else_on_the_router_has_is_not_insisted_on() {
    let mut router = Router::new(18);
    router.with(|state| (state.taken_error, state.taken) = (729, 4011));
    router.speak_igd().await;
    let mapper = mapper(&router);
    for _ in 0..2 {
        assert!(mapped(&mapper).await.external.port() >= 0x8000);
    }
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn a_router_behind_a_nat_maps_nothing_of_use_and_is_left_alone() {
    let mut router = Router::new(5);
    router.with(|state| (state.pcp, state.natpmp, state.external) = (true, true, Ipv4Addr::new(100, 64, 0, 9)));
    router.speak_udp().await;
    router.speak_igd().await;
    let mapper = mapper(&router);
    let MappingEvent::Unavailable { cause } = next(&mapper).await else { panic!("it is of no use") };
    assert!(cause.contains("100.64.0.9, which is not public"), "{cause}");
    is_removed_in_time(&router, &mapper).await;
}

#[tokio::test]
async fn an_announcement_of_the_router_has_it_asked_at_once() {
    let mut router = Router::new(6);
    router.with(|state| state.pcp = true);
    router.speak_udp().await;
    let mapper = is_mapped_in_time(&router, MapMethod::Pcp).await;
    router.with(|state| state.external = Ipv4Addr::new(192, 0, 1, 13));
    let socket = socket2::SockRef::from(&UdpSocket::bind((router.ip, 0)).await.unwrap()).try_clone().unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let mut announce = [0; 24];
    announce[..2].copy_from_slice(&[2, 0x80]);
    socket.send_to(&announce, &SocketAddr::from(([224, 0, 0, 1], 5350)).into()).unwrap();
    assert_eq!(mapped(&mapper).await.external.ip().to_string(), "192.0.1.13");
    is_removed_in_time(&router, &mapper).await;
}

async fn by_pcp(router: &Router) -> Result<(), String> {
    pcp::map(route(router), TCP, 4011, Nonce::of(&SECRET)).await.map(drop)
}

async fn by_natpmp(router: &Router) -> Result<(), String> {
    pcp::map_natpmp(route(router), TCP, 4011).await.map(drop)
}

#[tokio::test]
async fn an_answer_of_another_host_is_none() {
    let mut router = Router::new(7);
    router.with(|state| (state.pcp, state.natpmp) = (true, true));
    let state = router.state.clone();
    let [net, process, number, last] = router.ip.octets();
    let neighbour = Ipv4Addr::new(net, process, number, last + 1);
    router.udp(crab_nat::GATEWAY_PORT, neighbour, move |request| answer(&mut state.lock().unwrap(), request)).await;
    assert_eq!((by_pcp(&router).await, by_natpmp(&router).await), (Err("no answer".to_owned()), Err("no answer".to_owned())));
    let state = router.state.clone();
    let server = router.http(move |_, _, _| Some(http(&format!("{}", state.lock().unwrap().epoch)))).await;
    router
        .udp(1900, neighbour, move |_| Some(format!("HTTP/1.1 200 OK\r\nLOCATION: http://{server}/\r\n\r\n").into_bytes()))
        .await;
    let found = Methods::new(&SECRET).ask(route(&router), &Ask::Find(MapMethod::Igd)).await;
    assert!(matches!(&found, Answer::Failed(cause) if cause == "no answer"), "{found:?}");
    assert_eq!(router.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_of_every_length_and_with_another_nonce_fail_the_question() {
    let mut router = Router::new(8);
    router.with(|state| (state.pcp, state.natpmp) = (true, true));
    let (state, mut length) = (router.state.clone(), 0);
    router
        .udp(crab_nat::GATEWAY_PORT, router.ip, move |request| {
            let mut answer = answer(&mut state.lock().unwrap(), request)?;
            answer.resize(length, 0xff);
            length += 1;
            Some(answer)
        })
        .await;
    for length in 0..60 {
        assert!(by_pcp(&router).await.is_err(), "{length}");
    }
    for _ in 60..1100 {
        // What follows a whole answer are options, which are not read.
        let _ = by_pcp(&router).await;
        let _ = by_natpmp(&router).await;
    }

    let mut router = Router::new(9);
    router.with(|state| state.pcp = true);
    let (state, mut at) = (router.state.clone(), 0);
    // Any byte of the answer wrong that says whose answer it is: version, operation, result, nonce, protocol, port.
    let named: Vec<usize> = [0, 1, 3].into_iter().chain(24..37).chain(40..42).collect();
    let count = named.len();
    router
        .udp(crab_nat::GATEWAY_PORT, router.ip, move |request| {
            let mut answer = answer(&mut state.lock().unwrap(), request)?;
            answer[named[at]] ^= 1;
            at += 1;
            Some(answer)
        })
        .await;
    for number in 0..count {
        assert!(by_pcp(&router).await.is_err(), "{number}");
    }
}

/// What IGD comes to with a router whose search is answered by `location`, within its second.
async fn found(router: &mut Router, location: String) -> Result<igd::Router, String> {
    router.udp(1900, router.ip, move |_| Some(format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n").into_bytes())).await;
    let start = Instant::now();
    let found = timeout(Duration::from_secs(1), igd::find(route(router))).await;
    assert!(start.elapsed() < IN_TIME);
    found.unwrap_or_else(|_| Err("no answer".to_owned()))
}

#[tokio::test]
async fn a_description_elsewhere_is_not_fetched() {
    let mut router = Router::new(10);
    let mut victim = Router::new(11);
    let address = victim.http(|_, _, _| Some(http("<root/>"))).await;
    assert!(found(&mut router, format!("http://{address}/root.xml")).await.is_err());
    assert_eq!(victim.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_description_that_is_huge_slow_or_leads_elsewhere_is_of_no_use() {
    // Of which 64 KiB are read.
    let huge = http(&"x".repeat(16 << 20));
    let elsewhere = http(
        "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
         <controlURL>http://127.77.99.9:80/control</controlURL></service>",
    );
    for (number, reply) in [(12, Some(huge)), (13, None), (14, Some(elsewhere))] {
        let mut router = Router::new(number);
        let address = router.http(move |_, _, _| reply.clone()).await;
        assert!(found(&mut router, format!("http://{address}/root.xml")).await.is_err(), "{number}");
    }
}

#[tokio::test]
async fn an_answer_to_soap_that_is_huge_slow_or_deep_fails_the_question() {
    let huge = http(&"x".repeat(16 << 20));
    let deep = http(&"<a>".repeat(20_000));
    for (number, reply) in [(15, Some(huge)), (16, None), (17, Some(deep))] {
        let mut router = Router::new(number);
        let description = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                           <controlURL>/control</controlURL></service>";
        let answer =
            move |_: &_, head: &str, _: &str| if head.starts_with("GET") { Some(http(description)) } else { reply.clone() };
        let address = router.http(answer).await;
        let location = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{address}/root.xml\r\n\r\n");
        router.udp(1900, router.ip, move |_| Some(location.clone().into_bytes())).await;
        let methods = Methods::new(&SECRET);
        assert!(matches!(methods.ask(route(&router), &Ask::Find(MapMethod::Igd)).await, Answer::Found));
        let start = Instant::now();
        let mapped = methods.ask(route(&router), &Ask::Map { by: MapMethod::Igd, request: TCP, port: 4011 }).await;
        assert!(matches!(mapped, Answer::Failed(_)), "{number}: {mapped:?}");
        assert!(start.elapsed() < IN_TIME);
    }
}
