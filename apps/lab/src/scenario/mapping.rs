//! A router that maps ports at its host's request: that of the lab itself, asked by hand.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::cast::sites;
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Host, Lab, MapProtocol, Miniupnpd, NatKind, WanRange, WireSpec, in_namespace, need_miniupnpd},
};

/// Time for the daemon to start and to answer.
const ANSWER: Duration = Duration::from_secs(3);
const PORT: u16 = 4011;

pub(crate) async fn mapping(args: &CommonArgs) -> Result<()> {
    need_miniupnpd()?;
    // Behind a symmetric NAT nothing but a mapped port lets a stranger in.
    let mut specs = sites(NatKind::Symmetric, NatKind::Symmetric, WireSpec::default());
    specs[0].wan = WanRange::Mappable;
    let lab = Lab::build(specs)?;
    let evidence = Evidence::create(&args.evidence, "mapping")?;
    let site = &lab.sites[0];
    let mut rows = Vec::new();
    for protocol in MapProtocol::ALL {
        site.count_requests()?;
        let mut router = Miniupnpd::start(site, protocol)?;
        ensure!(router.mappings()?.is_empty(), "a router that was just started maps ports: {:?}", router.mappings()?);
        ensure!(!reached(&lab, site.wan_ip).await?, "the NAT lets a stranger in without a mapping");
        let answers = asked(&site.host, protocol)?;
        ensure!(site.requests()? > 0, "the router counts no requests");
        if protocol != MapProtocol::Igd {
            let mappings = router.mappings()?;
            ensure!(mappings.iter().any(|mapping| mapping.protocol == "tcp" && mapping.external == PORT), "{mappings:?}");
            ensure!(reached(&lab, site.wan_ip).await?, "the mapped port does not lead to the host");
            router.power_off()?;
            ensure!(!reached(&lab, site.wan_ip).await?, "a port stays mapped after the router's end");
            let _taken = site.occupy(PORT)?;
            router.start_again()?;
            asked(&site.host, protocol)?;
            let mappings = router.mappings()?;
            ensure!(mappings.iter().all(|mapping| mapping.external != PORT), "a port that is taken is mapped: {mappings:?}");
            ensure!(mappings.iter().any(|mapping| mapping.to.port() == PORT), "no other port is mapped: {mappings:?}");
        }
        router.start_again()?;
        ensure!(router.mappings()?.is_empty(), "a router that was started again maps ports");
        println!("{}: {answers}", router.protocol().name());
        rows.push(json!({ "protocol": protocol.name(), "answers": answers }));
        evidence.table(&format!("miniupnpd-{}.log", protocol.name()), &router.log()?)?;
    }
    evidence.summary(&json!(rows))?;
    println!("evidence: {}", evidence.dir().display());
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

/// Whether a stranger's TCP connection to the site's port gets to its host.
async fn reached(lab: &Lab, ip: Ipv4Addr) -> Result<bool> {
    let listener = inside(&lab.sites[0].host, || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
    let tried = inside(&lab.relay, move || Ok(TcpStream::connect_timeout(&SocketAddr::from((ip, PORT)), ANSWER / 3)))?;
    drop(listener);
    match tried {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Asks for a TCP port, until there is an answer; which versions answered.
fn asked(host: &Host, protocol: MapProtocol) -> Result<String> {
    let local = Ipv4Addr::new(192, 168, 1, 2);
    inside(host, move || {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let [high, low] = PORT.to_be_bytes();
        let nat_pmp = [0, 2, 0, 0, high, low, high, low, 0, 0, 0, 120];
        let mapped = |ip: Ipv4Addr| [&[0; 10][..], &[0xff; 2], &ip.octets()].concat();
        let pcp = [
            &[2, 1, 0, 0, 0, 0, 0, 120][..],
            &mapped(local),
            &[7; 12],
            &[6, 0, 0, 0, high, low, high, low],
            &mapped(Ipv4Addr::UNSPECIFIED),
        ]
        .concat();
        let search = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n";
        let (to, requests): (_, Vec<&[u8]>) = match protocol {
            MapProtocol::Igd => (SocketAddr::from(([239, 255, 255, 250], 1900)), vec![search]),
            MapProtocol::Pcp | MapProtocol::NatPmp => (SocketAddr::from(([192, 168, 1, 1], 5351)), vec![&pcp, &nat_pmp]),
        };
        let mut answers = Vec::new();
        for request in requests {
            for _ in 0..ANSWER.as_millis() / 200 {
                socket.send_to(request, to)?;
                let mut answer = [0; 1100];
                if let Ok(length) = socket.recv(&mut answer) {
                    answers.push((request[0], answer[..length].to_vec()));
                    break;
                }
            }
        }
        let told = match (protocol, answers.as_slice()) {
            (MapProtocol::Pcp, [(2, pcp), (0, _)]) if pcp[3] == 0 => "PCP and NAT-PMP answer",
            (MapProtocol::NatPmp, [(0, answer)]) if answer[3] == 0 => "NAT-PMP answers, PCP does not",
            (MapProtocol::Igd, [(b'M', answer)]) if answer.starts_with(b"HTTP/1.1 200") => "SSDP answers",
            (_, other) => bail!("{protocol:?} was not answered as it must be: {other:02x?}"),
        };
        Ok(told.to_owned())
    })
}

fn inside<T: Send + 'static>(host: &Host, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    in_namespace(&host.namespace, job).join().ok().context("the namespace's thread panicked")?
}
