//! The facts that a click records of one HTTP request.
//!
//! Pure: it reads the head of a request and decides nothing. The caller passes the client.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::Version;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use schemas::Method;

use crate::click::ClientIp;
use crate::host_name;
use schemas::{TraceContext, headers, tracestate_is_plain};

/// Header of the trace of a request and of its answer.
pub const TRACEPARENT: HeaderName = HeaderName::from_static(headers::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(headers::TRACESTATE);

/// Headers that mark a prefetch or a preview, the most specific first.
const PURPOSES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// The facts of one request. Texts are as the client sent them, except that bytes which are not UTF-8 are
/// replaced.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of schemas::RawClick")]
pub struct RequestFacts<'a> {
    pub method: Method,
    pub domain: Option<Cow<'a, str>>,
    /// Port of the requested host; `None` means the default of the scheme. No click records it.
    pub port: Option<u16>,
    pub slug: &'a str,
    pub query: Option<&'a str>,
    pub http_version: Option<&'static str>,
    pub client_ip: ClientIp,
    pub headers: HeaderFacts<'a>,
}

/// The facts of the headers of one request.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of schemas::RawClick")]
pub struct HeaderFacts<'a> {
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

impl<'a> RequestFacts<'a> {
    /// Reads the head of a request that `client` sent.
    pub fn read(head: &'a Parts, client: IpAddr) -> Self {
        let path = head.uri.path();
        let (headers, host) = HeaderFacts::read(&head.headers);
        let of_target = head.uri.host().map(Cow::Borrowed).and_then(host_name::domain);
        // If the host of the target is no domain, the `Host` header may still name one.
        let (domain, port) = match of_target {
            Some(domain) => (Some(domain), head.uri.port_u16()),
            None => {
                let port = host.as_deref().and_then(host_name::port);
                (host.and_then(host_name::domain), port)
            }
        };
        Self {
            method: Method::from_name(head.method.as_str()),
            domain,
            port,
            slug: path.strip_prefix('/').unwrap_or(path),
            query: head.uri.query(),
            http_version: version(head.version),
            client_ip: ClientIp::new(client),
            headers,
        }
    }
}

impl<'a> HeaderFacts<'a> {
    /// Reads the headers, and returns the `Host` too. One pass over the headers that were sent is faster
    /// than a lookup of each that may be sent.
    fn read(headers: &'a HeaderMap) -> (Self, Option<Cow<'a, str>>) {
        let (mut facts, mut host, mut purpose) = (Self::default(), None, PURPOSES.len());
        for (name, value) in headers {
            let name = name.as_str();
            match name {
                "host" => set_first(&mut host, value),
                "user-agent" => set_first(&mut facts.user_agent, value),
                "referer" => set_first(&mut facts.referer, value),
                "accept-language" => set_first(&mut facts.accept_language, value),
                "sec-fetch-site" => set_first(&mut facts.sec_fetch_site, value),
                "sec-fetch-mode" => set_first(&mut facts.sec_fetch_mode, value),
                "sec-fetch-dest" => set_first(&mut facts.sec_fetch_dest, value),
                "sec-ch-ua" => set_first(&mut facts.sec_ch_ua, value),
                "sec-ch-ua-mobile" => set_first(&mut facts.sec_ch_ua_mobile, value),
                "sec-ch-ua-platform" => set_first(&mut facts.sec_ch_ua_platform, value),
                "x-requested-with" => set_first(&mut facts.x_requested_with, value),
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
        (facts, host)
    }
}

/// The trace context of the client, and its `tracestate`.
pub fn parent(headers: &HeaderMap) -> Option<(TraceContext, Option<&str>)> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // Two `traceparent` headers count as none.
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    let parent = TraceContext::parse(parent.to_str().ok()?)?;
    let mut states = headers.get_all(TRACESTATE).iter();
    let state = match (states.next(), states.next()) {
        (Some(state), None) => state.to_str().ok().filter(|state| tracestate_is_plain(state)),
        // W3C Trace Context allows to drop a list that is in several headers.
        _ => None,
    };
    Some((parent, state))
}

/// Sets a fact, unless an earlier header of the same name has set it.
fn set_first<'a>(fact: &mut Option<Cow<'a, str>>, value: &'a HeaderValue) {
    if fact.is_none() {
        *fact = text(value);
    }
}

fn text(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let value = value.as_bytes();
    // `from_utf8` reads a word of ASCII at a time, `from_utf8_lossy` each byte.
    let lossy = |_| String::from_utf8_lossy(value);
    (!value.is_empty()).then(|| std::str::from_utf8(value).map_or_else(lossy, Cow::Borrowed))
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
    use hyper::http;

    use super::*;

    fn head(uri: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn facts(head: &Parts) -> RequestFacts<'_> {
        RequestFacts::read(head, "1.2.3.4".parse().unwrap())
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
    }

    #[test]
    fn the_host_of_a_target_counts_where_it_is_a_domain_and_else_the_host_header() {
        for (target, domain, port) in [
            ("http://X.example:1/a", "x.example", Some(1)),
            ("http://x.example/a", "x.example", None),
            ("http://a,b:1/a", "y.example", Some(2)),
            ("http://-/a", "y.example", Some(2)),
            ("/a", "y.example", Some(2)),
        ] {
            let head = head(target, &[("host", b"Y.example:2")]);
            let facts = facts(&head);
            assert_eq!((facts.domain.as_deref(), facts.port), (Some(domain), port), "{target}");
        }
    }

    #[test]
    fn f11_a_method_has_no_case() {
        for (name, expected) in [
            ("GET", Method::Get),
            ("get", Method::Get),
            ("Head", Method::Head),
            ("post", Method::Post),
            ("PUT", Method::Other),
        ] {
            let request = http::Request::builder().method(name).uri("/a");
            let head = request.body(()).unwrap().into_parts().0;
            assert_eq!(facts(&head).method, expected, "{name}");
        }
    }

    #[test]
    fn headers_are_recorded_even_when_they_are_not_utf8() {
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
        assert_eq!(facts.headers.user_agent.as_deref(), Some("M\u{fffd}"));
        assert_eq!(facts.headers.purpose.as_deref(), Some("prefetch"));
        let headers = facts.headers;
        assert_eq!((headers.dnt, headers.gpc, headers.referer), (true, false, None));
    }

    #[test]
    fn the_first_text_of_a_header_counts_and_the_most_specific_purpose() {
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
        assert!(facts.headers.dnt && !facts.headers.gpc, "one header of two is enough");
        assert_eq!(facts.headers.purpose.as_deref(), Some("preview"));
        assert_eq!(facts.headers.user_agent.as_deref(), Some("A"));
    }

    #[test]
    fn two_traceparents_count_as_none_and_a_tracestate_needs_its_traceparent() {
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
