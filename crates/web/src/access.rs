//! Who may read what is not for everybody.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE, HOST, HeaderName},
    http::uri::Authority,
};
use kaspath_domain::{IpPrefix, Moment, Rates};

use crate::Token;

/// Wrong tokens of a host at once, and the time for one more.
const WRONG: u32 = 5;
const WRONG_REFILL: Duration = Duration::from_secs(10);
/// Hosts whose wrong tokens are remembered.
const MAX_HOSTS: usize = 1024;
/// What a browser says of the page that asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Yes.
    Allowed,
    /// It names another host than this machine: a name that leads here by a trick of DNS.
    OtherHost,
    /// It has no token, or an old cookie.
    NoToken,
    /// Its token is wrong.
    WrongToken,
    /// There were too many wrong tokens from where it comes from.
    Wait(Duration),
}

/// By what it is decided.
pub(crate) enum Access {
    /// Those on this machine may read.
    Local,
    /// Those who know the token may.
    ByToken(ByToken),
}

/// See [`Access::ByToken`].
pub(crate) struct ByToken {
    token: Token,
    /// What a browser gets for the token: another secret, new at each start.
    session: Token,
    /// Its cookie's name, which has the port: a browser sends a host's cookies to all its ports.
    cookie: String,
    wrong: Mutex<Rates<IpPrefix>>,
}

impl ByToken {
    pub(crate) fn new(token: Token, port: u16) -> Self {
        let wrong = Mutex::new(Rates::new(WRONG, WRONG_REFILL, MAX_HOSTS));
        Self { token, session: Token::random(), cookie: format!("kaspath-{port}"), wrong }
    }

    /// Whether the request's token is right.
    fn verdict(&self, headers: &HeaderMap, from: IpPrefix, now: Moment) -> Verdict {
        let Some(given) = headers.get(AUTHORIZATION) else {
            // A wrong cookie is no guess: it is one of an earlier start.
            let given = cookies(headers, &self.cookie).any(|value| self.session.is(value));
            return if given { Verdict::Allowed } else { Verdict::NoToken };
        };
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.has(&from, 1, now) {
            return wrong.take(&from, now).map_or_else(Verdict::Wait, |()| Verdict::NoToken);
        }
        let token =
            given.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        if token.is_some_and(|(_, token)| self.token.is(token.trim())) {
            return Verdict::Allowed;
        }
        let _ = wrong.take(&from, now);
        Verdict::WrongToken
    }

    /// What a browser is to keep.
    pub(crate) fn set_cookie(&self) -> String {
        let Self { cookie, session, .. } = self;
        format!("{cookie}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200", session.reveal())
    }
}

impl Access {
    /// Whether a request with these headers from there may be answered now.
    pub(crate) fn verdict(&self, headers: &HeaderMap, from: IpPrefix, now: Moment) -> Verdict {
        match self {
            Self::Local if is_local(headers) => Verdict::Allowed,
            Self::Local => Verdict::OtherHost,
            Self::ByToken(by_token) => by_token.verdict(headers, from, now),
        }
    }
}

/// Whether a request is sent to this machine by its own name or loopback address. A
/// page of a stranger, whose name leads here, is read by a browser as the stranger's.
fn is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        !authority.as_str().contains('@')
            && (host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    })
}

/// Whether another site's page has its browser ask.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

/// The values of a cookie.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn from(n: u8) -> IpPrefix {
        IpPrefix::host(Ipv4Addr::new(192, 0, 2, n).into())
    }

    fn by_token() -> ByToken {
        let dir = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(dir.path(), TOKEN).unwrap();
        ByToken::new(Token::read(dir.path()).unwrap(), 4002)
    }

    fn bearer(token: &str) -> HeaderMap {
        headers(&[(AUTHORIZATION, &format!("Bearer {token}"))])
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_answered() {
        let verdict = |host: &str| Access::Local.verdict(&headers(&[(HOST, host)]), from(1), at(0));
        for host in ["localhost", "LOCALHOST:4002", "127.0.0.1:4002", "127.9.9.9", "[::1]:4002", "[::1]"] {
            assert_eq!(verdict(host), Verdict::Allowed, "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "localhost.attacker.example:4002",
            "192.168.1.2",
            "attacker@localhost",
            "127.0.0.1.nip.example",
            "::1",
        ] {
            assert_eq!(verdict(host), Verdict::OtherHost, "{host}");
        }
        assert_eq!(Access::Local.verdict(&HeaderMap::new(), from(1), at(0)), Verdict::OtherHost);
        let mut twice = headers(&[(HOST, "localhost")]);
        twice.append(HOST, "attacker.example".parse().unwrap());
        assert_eq!(Access::Local.verdict(&twice, from(1), at(0)), Verdict::OtherHost);
    }

    #[test]
    fn the_token_and_the_cookie_that_it_buys_are_accepted_and_nothing_else() {
        let by_token = by_token();
        let cookie = by_token.set_cookie();
        let pair = cookie.split(';').next().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
        let access = Access::ByToken(by_token);
        let verdict = |headers: &HeaderMap| access.verdict(headers, from(1), at(0));
        assert_eq!(verdict(&bearer(TOKEN)), Verdict::Allowed);
        assert_eq!(verdict(&headers(&[(AUTHORIZATION, &format!("bearer  {TOKEN}"))])), Verdict::Allowed);
        assert_eq!(verdict(&headers(&[(COOKIE, &format!("a=b; {pair}"))])), Verdict::Allowed);
        assert_eq!(verdict(&HeaderMap::new()), Verdict::NoToken);
        for wrong in [format!("kaspath-4002={TOKEN}"), format!("x{pair}"), pair.replace("4002", "4003"), "kaspath-4002=".into()] {
            assert_eq!(verdict(&headers(&[(COOKIE, &wrong)])), Verdict::NoToken, "{wrong}");
        }
        assert_eq!(verdict(&bearer(&TOKEN[1..])), Verdict::WrongToken);
        assert_eq!(verdict(&headers(&[(AUTHORIZATION, TOKEN)])), Verdict::WrongToken);
        assert_eq!(verdict(&headers(&[(AUTHORIZATION, &format!("Basic {TOKEN}"))])), Verdict::WrongToken);
    }

    #[test]
    fn guesses_have_a_rate_and_those_of_one_host_stop_no_other() {
        let access = Access::ByToken(by_token());
        for _ in 0..WRONG {
            assert_eq!(access.verdict(&bearer("wrong"), from(1), at(0)), Verdict::WrongToken);
        }
        let Verdict::Wait(time) = access.verdict(&bearer(TOKEN), from(1), at(0)) else {
            panic!("the right one is a guess as well")
        };
        assert_eq!(time, WRONG_REFILL);
        assert_eq!(access.verdict(&bearer(TOKEN), from(2), at(0)), Verdict::Allowed);
        assert_eq!(access.verdict(&bearer(TOKEN), from(1), at(10)), Verdict::Allowed);
        for host in 0..u16::try_from(2 * MAX_HOSTS).unwrap() {
            let [high, low] = host.to_be_bytes();
            access.verdict(&bearer("wrong"), IpPrefix::host(Ipv4Addr::new(10, 0, high, low).into()), at(20));
        }
        let Access::ByToken(by_token) = &access else { unreachable!() };
        assert!(by_token.wrong.lock().unwrap().len() <= MAX_HOSTS);
    }

    #[test]
    fn a_browser_that_asks_for_another_site_is_recognised() {
        let site = |value: &str| is_cross_site(&headers(&[(SEC_FETCH_SITE, value)]));
        assert!(site("cross-site") && site("same-site") && !site("same-origin") && !site("none"));
        assert!(!is_cross_site(&HeaderMap::new()), "a program that is no browser");
    }
}
