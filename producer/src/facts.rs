//! What one HTTP request says of itself, as far as a click records it.
//!
//! Pure: reads a request's head, decides nothing. Who the client is, is told.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::header::{ACCEPT_LANGUAGE, DNT, HOST, HeaderMap, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Version, http};
use schemas::Method;

use crate::click::ClientIp;
use schemas::{TraceContext, tracestate_is_plain};

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
        let headers = &head.headers;
        let text = |name: &str| text(headers, name);
        let one = |name| headers.get(name).is_some_and(|value| value == "1");
        let path = head.uri.path();
        Self {
            method: method(&head.method),
            domain: domain(head),
            slug: path.strip_prefix('/').unwrap_or(path),
            query: head.uri.query(),
            http_version: version(head.version),
            client_ip: ClientIp::new(client),
            user_agent: text(USER_AGENT.as_str()),
            referer: text(REFERER.as_str()),
            accept_language: text(ACCEPT_LANGUAGE.as_str()),
            purpose: PURPOSES.iter().find_map(|name| text(name)),
            sec_fetch_site: text("sec-fetch-site"),
            sec_fetch_mode: text("sec-fetch-mode"),
            sec_fetch_dest: text("sec-fetch-dest"),
            sec_ch_ua: text("sec-ch-ua"),
            sec_ch_ua_mobile: text("sec-ch-ua-mobile"),
            sec_ch_ua_platform: text("sec-ch-ua-platform"),
            x_requested_with: text("x-requested-with"),
            dnt: one(DNT.as_str()),
            gpc: one("sec-gpc"),
        }
    }
}

/// The trace that the client is in, and its vendors' part of it.
pub fn parent(headers: &HeaderMap) -> Option<(TraceContext, Option<&str>)> {
    let mut parents = headers.get_all(schemas::headers::TRACEPARENT).iter();
    // Two parents are none.
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    let parent = TraceContext::parse(parent.to_str().ok()?)?;
    let mut states = headers.get_all(schemas::headers::TRACESTATE).iter();
    let state = match (states.next(), states.next()) {
        (Some(state), None) => state.to_str().ok().filter(|state| tracestate_is_plain(state)),
        // A list in several headers is rare, and may be dropped.
        _ => None,
    };
    Some((parent, state))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let value = headers.get(name)?.as_bytes();
    (!value.is_empty()).then(|| String::from_utf8_lossy(value))
}

/// Host as requested, lower case, without port and without the dot at its end.
fn domain(head: &Parts) -> Option<Cow<'_, str>> {
    let host = match head.uri.host() {
        Some(host) => Cow::Borrowed(host),
        None => text(&head.headers, HOST.as_str())?,
    };
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
            assert_eq!(domain(&head).as_deref(), expected, "{host:?}");
        }
        let absolute = head("http://X.example:1/a", &[("host", b"y")]);
        assert_eq!(domain(&absolute).as_deref(), Some("x.example"));
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
        let facts = Facts::read(&head, "1.2.3.4".parse().unwrap());
        assert_eq!((facts.slug, facts.query), ("a%20b", Some("q=1")));
        assert_eq!(facts.user_agent.as_deref(), Some("M\u{fffd}"));
        assert_eq!(facts.purpose.as_deref(), Some("prefetch"));
        assert_eq!((facts.dnt, facts.gpc, facts.referer), (true, false, None));
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
