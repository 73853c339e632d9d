//! What one HTTP request says of itself, as far as a click records it.
//!
//! Pure: reads a request's head, decides nothing. Who the client is, is told.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Version, http};
use schemas::Method;

use crate::click::ClientIp;
use schemas::{TraceContext, headers, tracestate_is_plain};

/// The trace that a request is in, and the one of its answer.
pub const TRACEPARENT: HeaderName = HeaderName::from_static(headers::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(headers::TRACESTATE);

/// Headers that tell a prefetch or preview, the most telling first.
const PURPOSES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// One request's facts. Texts are as sent; bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of schemas::RawClick")]
pub struct Facts<'a> {
    pub method: Method,
    pub domain: Option<Cow<'a, str>>,
    pub slug: &'a str,
    pub query: Option<&'a str>,
    pub http_version: Option<&'static str>,
    pub client_ip: ClientIp,
    pub user_agent: Option<Cow<'a, str>>,
    pub referer: Option<Cow<'a, str>>,
    pub accept_language: Option<Cow<'a, str>>,
    pub purpose: Option<Cow<'a, str>>,
    pub sec_fetch_site: Option<Cow<'a, str>>,
    pub sec_fetch_mode: Option<Cow<'a, str>>,
    pub sec_fetch_dest: Option<Cow<'a, str>>,
    pub sec_ch_ua: Option<Cow<'a, str>>,
    pub sec_ch_ua_mobile: Option<Cow<'a, str>>,
    pub sec_ch_ua_platform: Option<Cow<'a, str>>,
    pub x_requested_with: Option<Cow<'a, str>>,
    pub dnt: bool,
    pub gpc: bool,
}

impl<'a> Facts<'a> {
    /// Reads a request's head.
    pub fn read(head: &'a Parts, client: IpAddr) -> Self {
        let path = head.uri.path();
        let mut facts = Self {
            method: method(&head.method),
            domain: None,
            slug: path.strip_prefix('/').unwrap_or(path),
            query: head.uri.query(),
            http_version: version(head.version),
            client_ip: ClientIp::new(client),
            user_agent: None,
            referer: None,
            accept_language: None,
            purpose: None,
            sec_fetch_site: None,
            sec_fetch_mode: None,
            sec_fetch_dest: None,
            sec_ch_ua: None,
            sec_ch_ua_mobile: None,
            sec_ch_ua_platform: None,
            x_requested_with: None,
            dnt: false,
            gpc: false,
        };
        let (mut host, mut purpose) = (None, PURPOSES.len());
        // Once over what was sent, which is less than what may be.
        for (name, value) in &head.headers {
            let name = name.as_str();
            match name {
                "host" => keep(&mut host, value),
                "user-agent" => keep(&mut facts.user_agent, value),
                "referer" => keep(&mut facts.referer, value),
                "accept-language" => keep(&mut facts.accept_language, value),
                "sec-fetch-site" => keep(&mut facts.sec_fetch_site, value),
                "sec-fetch-mode" => keep(&mut facts.sec_fetch_mode, value),
                "sec-fetch-dest" => keep(&mut facts.sec_fetch_dest, value),
                "sec-ch-ua" => keep(&mut facts.sec_ch_ua, value),
                "sec-ch-ua-mobile" => keep(&mut facts.sec_ch_ua_mobile, value),
                "sec-ch-ua-platform" => keep(&mut facts.sec_ch_ua_platform, value),
                "x-requested-with" => keep(&mut facts.x_requested_with, value),
                "dnt" => facts.dnt |= value == "1",
                "sec-gpc" => facts.gpc |= value == "1",
                _ => {
                    let rank = PURPOSES.iter().position(|purpose| *purpose == name);
                    if let Some(rank) = rank.filter(|rank| *rank < purpose)
                        && let Some(text) = text(value)
                    {
                        (facts.purpose, purpose) = (Some(text), rank);
                    }
                }
            }
        }
        facts.domain = head.uri.host().map(Cow::Borrowed).or(host).and_then(domain);
        facts
    }
}

/// The trace that the client is in, and its vendors' part of it.
pub fn parent(headers: &HeaderMap) -> Option<(TraceContext, Option<&str>)> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // Two parents are none.
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    let parent = TraceContext::parse(parent.to_str().ok()?)?;
    let mut states = headers.get_all(TRACESTATE).iter();
    let state = match (states.next(), states.next()) {
        (Some(state), None) => state.to_str().ok().filter(|state| tracestate_is_plain(state)),
        // A list in several headers is rare, and may be dropped.
        _ => None,
    };
    Some((parent, state))
}

/// Of headers that are sent twice the first with a text counts.
fn keep<'a>(fact: &mut Option<Cow<'a, str>>, value: &'a HeaderValue) {
    if fact.is_none() {
        *fact = text(value);
    }
}

fn text(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let value = value.as_bytes();
    (!value.is_empty()).then(|| String::from_utf8_lossy(value))
}

/// A host in lower case, without port and without the dot at its end.
fn domain(host: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let end = match (host.rfind(':'), host.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => host.len(),
        (Some(colon), _) => colon,
        (None, _) => host.len(),
    };
    let end = host[..end].trim_end_matches('.').len();
    let plain = end == host.len() && !host.bytes().any(|byte| byte.is_ascii_uppercase());
    match (end, plain) {
        (0, _) => None,
        (_, true) => Some(host),
        (_, false) => Some(Cow::Owned(host[..end].to_ascii_lowercase())),
    }
}

fn method(method: &http::Method) -> Method {
    match *method {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        http::Method::POST => Method::Post,
        _ => Method::Other,
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("HTTP/1.0"),
        Version::HTTP_11 => Some("HTTP/1.1"),
        Version::HTTP_2 => Some("HTTP/2.0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn facts(head: &Parts) -> Facts<'_> {
        Facts::read(head, "1.2.3.4".parse().unwrap())
    }

    #[test]
    fn a_host_is_a_domain_without_its_port() {
        for (host, expected) in [
            (&b"Go.Example:8080"[..], Some("go.example")),
            (b"go.example", Some("go.example")),
            (b"go.example.", Some("go.example")),
            (b"[::1]:80", Some("[::1]")),
            (b"[::1]", Some("[::1]")),
            (b":80", None),
            (b"", None),
        ] {
            let head = head("/a", &[("host", host)]);
            assert_eq!(facts(&head).domain.as_deref(), expected, "{host:?}");
        }
        let absolute = head("http://X.example:1/a", &[("host", b"y")]);
        assert_eq!(facts(&absolute).domain.as_deref(), Some("x.example"));
    }

    #[test]
    fn headers_are_facts_even_when_they_are_no_text() {
        let head = head(
            "/a%20b?q=1",
            &[
                ("user-agent", b"M\xff"),
                ("purpose", b"preview"),
                ("sec-purpose", b"prefetch"),
                ("dnt", b"1"),
                ("sec-gpc", b"0"),
                ("referer", b""),
            ],
        );
        let facts = facts(&head);
        assert_eq!((facts.slug, facts.query), ("a%20b", Some("q=1")));
        assert_eq!(facts.user_agent.as_deref(), Some("M\u{fffd}"));
        assert_eq!(facts.purpose.as_deref(), Some("prefetch"));
        assert_eq!((facts.dnt, facts.gpc, facts.referer), (true, false, None));
    }

    #[test]
    fn of_headers_sent_twice_the_first_with_a_text_counts_and_of_purposes_the_most_telling() {
        let head = head(
            "/a",
            &[
                ("x-moz", b"prefetch"),
                ("sec-purpose", b""),
                ("purpose", b"preview"),
                ("purpose", b"other"),
                ("user-agent", b""),
                ("user-agent", b"A"),
                ("user-agent", b"B"),
                ("dnt", b"0"),
                ("dnt", b"1"),
            ],
        );
        let facts = facts(&head);
        assert!(facts.dnt && !facts.gpc, "who asks once has asked");
        assert_eq!(facts.purpose.as_deref(), Some("preview"));
        assert_eq!(facts.user_agent.as_deref(), Some("A"));
    }

    #[test]
    fn two_parents_are_none_and_a_state_needs_its_parent() {
        let good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |headers: &[(&str, &[u8])]| {
            let head = head("/", headers);
            parent(&head.headers).map(|(_, state)| state.map(str::to_owned))
        };
        assert_eq!(read(&[("traceparent", good)]), Some(None));
        assert_eq!(
            read(&[("traceparent", good), ("tracestate", b"a=b")]),
            Some(Some("a=b".to_owned()))
        );
        assert_eq!(read(&[("traceparent", good), ("traceparent", good)]), None);
        assert_eq!(read(&[("tracestate", b"a=b")]), None);
    }
}
