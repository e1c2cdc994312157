//! The router's description of itself: where its connection to the outside is controlled.

use std::net::SocketAddr;

use super::search::Place;

/// Services that map ports, by the end of their types.
const SERVICES: [&str; 3] = [":WANIPConnection:1", ":WANIPConnection:2", ":WANPPPConnection:1"];

/// Where the first service that maps ports takes its requests. It may only be at the
/// IP address of `host`, which gave the document.
pub(super) fn control_path(document: &str, host: SocketAddr) -> Option<Place> {
    let mut rest = document;
    while let Some((_, after)) = rest.split_once("<service>") {
        let (service, after) = after.split_once("</service>")?;
        let kind = element(service, "serviceType")?;
        if SERVICES.iter().any(|name| kind.ends_with(name)) {
            return Place::parse(&element(service, "controlURL")?.replace("&amp;", "&"), host);
        }
        rest = after;
    }
    None
}

/// The text of an element without children.
fn element<'a>(within: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = within.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once('<')?;
    Some(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(services: &[(&str, &str)]) -> String {
        let service = |(kind, url): &(&str, &str)| {
            format!(
                "<service>\n<serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\n<controlURL>{url}</controlURL></service>"
            )
        };
        format!("<root><device><serviceList>{}</serviceList></device></root>", services.iter().map(service).collect::<String>())
    }

    fn control(services: &[(&str, &str)]) -> Option<String> {
        let place = control_path(&document(services), "192.168.1.1:5000".parse().unwrap())?;
        Some(format!("{}{}", place.host, place.path))
    }

    #[test]
    fn the_first_connection_counts() {
        let both = [("Layer3Forwarding:1", "/l3"), ("WANIPConnection:2", "/ctl/IPConn"), ("WANPPPConnection:1", "/ppp")];
        assert_eq!(control(&both).as_deref(), Some("192.168.1.1:5000/ctl/IPConn"));
        assert_eq!(control(&[("WANPPPConnection:1", "ppp?a=1&amp;b")]).as_deref(), Some("192.168.1.1:5000/ppp?a=1&b"));
        let elsewhere = [("WANIPConnection:1", "http://192.168.1.1:6000/c")];
        assert_eq!(control(&elsewhere).as_deref(), Some("192.168.1.1:6000/c"));
    }

    #[test]
    fn another_host_is_not_asked() {
        assert_eq!(control(&[("WANIPConnection:1", "http://192.168.1.9:6000/c")]), None);
        assert_eq!(control(&[("Layer3Forwarding:1", "/l3")]), None);
        assert_eq!(control(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_document_ends_the_program(parts in proptest::collection::vec("(<service>|</service>|<serviceType>|:WANIPConnection:1|<controlURL>|<|\\PC{0,3})", 0..40)) {
            let host: SocketAddr = "192.168.1.1:5000".parse().unwrap();
            if let Some(place) = control_path(&parts.concat(), host) {
                proptest::prop_assert_eq!(place.host.ip(), host.ip());
            }
        }
    }
}
