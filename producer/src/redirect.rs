#![expect(clippy::disallowed_methods, reason = "a request's latency is read here")]
//! The redirector answers each request once, and records one click for it.
//!
//! It reads only memory and never waits: it offers the click to the outbox, which returns at once, and
//! the result of that offer never changes the answer.

pub mod answered_click;
pub mod request_facts;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use schemas::Outcome;
use tracing::Span;

use crate::click::{ClickKey, cut_unredirected};
use crate::client::policy::{ClientContext, ClientPolicy};
use crate::client::stripped_texts::StrippedTexts;
use crate::clock::now;
use crate::links::link::Link;
use crate::links::link_entry::Status;
use crate::links::link_table::{LinkTable, Resolution};
use crate::links::target;
use crate::metrics::Metrics;
use crate::outbox::offer::{ClickSink, Loss, TraceHeaders};
use crate::random_bits;
use crate::redirect::answered_click::{RedirectAnswer, answered_click};
use crate::redirect::request_facts::{RequestFacts, TRACEPARENT};
use crate::request_span::{self, RequestParent, Sampling};
use crate::route::{Route, route};
use service::number::gauge;

/// No cache may store the answer: this host does not see a visit that a cache answers.
const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");
const A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");
const ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
/// Longest time that a cache may store the answer of a link with status 301.
const MOVED_SECONDS: i64 = 86_400;
/// Most bytes of the `tracestate` of a click that is no redirect; a longer one is left out.
const UNREDIRECTED_TRACESTATE: usize = 256;
/// Most headers for which an idle connection keeps memory (about 110 bytes each). Browsers and proxies together
/// send about 20.
const REUSED_HEADERS_MAX: usize = 24;
const NOT_FOUND: &str = "not found\n";
/// Allows crawlers, since programs that make previews of links obey it; `noindex` keeps links out of
/// search engines.
const ROBOTS: &str = "User-agent: *\nAllow: /\n";

thread_local! {
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers requests by the links in memory, and offers the click of each to a sink.
#[derive(Debug)]
pub struct Redirector<S> {
    links: ArcSwap<LinkTable>,
    sink: S,
    metrics: Metrics,
    node: String,
    sampling: Sampling,
    client_policy: ClientPolicy,
}

/// An answer before it becomes an HTTP response, and what a click records of it.
struct HttpAnswer<'a> {
    answer: RedirectAnswer<'a>,
    cache: HeaderValue,
    body: &'static str,
}

/// The answer to a visit whose click is recorded.
struct VisitAnswer {
    outcome: Outcome,
    status: StatusCode,
    cache: HeaderValue,
    body: &'static str,
    location: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl<S: ClickSink> Redirector<S> {
    /// A redirector whose clicks name the node `node` (1 to 256 bytes).
    pub fn new(sink: S, metrics: Metrics, node: String, sampling: Sampling) -> Self {
        let client_policy = ClientPolicy::default();
        Self { links: ArcSwap::default(), sink, metrics, node, sampling, client_policy }
    }

    /// The same redirector with this client policy.
    pub fn with_client_policy(self, client_policy: ClientPolicy) -> Self {
        Self { client_policy, ..self }
    }

    /// Answers later requests by these links; requests in flight keep the earlier ones.
    pub fn set_links(&self, links: impl Into<Arc<LinkTable>>) {
        let links = links.into();
        self.metrics.links_in_memory.set(gauge(links.count()));
        self.links.store(links);
    }

    /// Whether `peer` is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.client_policy.trusts(peer)
    }

    /// Answers one request of `peer`. Never waits.
    pub fn answer(&self, head: Parts, peer: IpAddr) -> Response<Full<Bytes>> {
        let (started, now) = (Instant::now(), now());
        if !matches!(head.method, Method::GET | Method::HEAD) {
            self.count("method_not_allowed", started);
            return method_not_allowed();
        }
        let Some(visit) = self.visit(&head, peer, (started, now)) else {
            self.metrics.limited_by("unknown_slugs");
            self.count("rate_limited", started);
            return too_many_requests();
        };
        let outcome = visit.outcome.as_str();
        let response = response(visit, &head.method, head.headers);
        self.count(outcome, started);
        response
    }

    /// Decides the answer to a visit at the time `now` and records its click; `None` if the client has made too
    /// many requests that are not redirected.
    fn visit(
        &self,
        head: &Parts,
        peer: IpAddr,
        (started, now): (Instant, i64),
    ) -> Option<VisitAnswer> {
        let facts = RequestFacts::read(head, self.client_policy.client(&head.headers, peer));
        let route = route(head.uri.path());
        let links = self.links.load();
        let found = match route {
            Route::Slug(slug) => links.resolve(facts.domain.as_deref(), slug, now),
            Route::Base | Route::Robots | Route::Favicon | Route::Reserved => Resolution::Unknown,
        };
        let location = location(&found, &facts).filter(|_| !is_ring(&links, &found, &facts, now));
        let HttpAnswer { answer, cache, body } = decide(route, &found, location.as_ref(), now);
        let RedirectAnswer { outcome, status, .. } = answer;
        let redirected = outcome == Outcome::Redirected;
        // While the links are not loaded, visitors of existing links are answered 503 without a limit.
        let is_limited = !redirected && outcome != Outcome::Error;
        if is_limited && !self.client_policy.admits_unredirected(&facts.client_ip, now) {
            return None;
        }
        let key = ClickKey::mint(now, &random_bits::event_bits());

        let latency = started.elapsed();
        // After a suspension of the host the latency may exceed the 35 minutes of an i32.
        let latency_us = i32::try_from(latency.as_micros()).unwrap_or(i32::MAX);
        let stripped = StrippedTexts::default();
        let mut click = answered_click(key, &self.node, &facts, answer, latency_us);
        let client = ClientContext {
            ip: Some(&facts.client_ip),
            link_opts_out: answer.link.is_some_and(Link::opts_out),
            stripped: &stripped,
        };
        let is_recorded = self.client_policy.apply(&mut click, client, &self.metrics);
        // After `apply`, which computes the visitor id from the whole user agent.
        if !redirected {
            cut_unredirected(&mut click);
        }
        // A trace identifies its visitor, so a click without identifiers has no trace.
        let is_traced = !click.identifiers_stripped;
        let (parent, tracestate) = request_facts::parent(&head.headers).unzip();
        let is_trusted = || self.client_policy.trusts(peer);
        let parent = parent.map(|context| RequestParent { context, is_trusted: is_trusted() });
        let event_id = is_traced.then_some(key.event_id);
        let (context, span) = request_span::redirect(self.sampling, parent, event_id);
        let traceparent = context.traceparent();
        if is_recorded {
            let fits = |state: &&str| redirected || state.len() <= UNREDIRECTED_TRACESTATE;
            let tracestate = tracestate.flatten().filter(fits);
            let trace = TraceHeaders { traceparent: Some(traceparent.as_str()), tracestate };
            // The event id names a trace that starts here; of one that is not sampled, no span has a parent.
            let is_in_headers = is_traced && (parent.is_some() || context.sampled);
            self.record(&click, if is_in_headers { trace } else { TraceHeaders::default() });
        }
        if !span.is_none() {
            describe(&span, head, &click);
        }
        let traceparent = HeaderValue::from_str(traceparent.as_str()).ok().filter(|_| is_traced);
        Some(VisitAnswer { outcome, status, cache, body, location, traceparent })
    }

    fn record(&self, click: &schemas::RawClick<'_>, trace: TraceHeaders<'_>) {
        self.metrics.clicks_offered.inc();
        RECORD.with_borrow_mut(|record| {
            record.clear();
            match click.write_datum(record) {
                Ok(()) => {
                    // The sink has counted the result; the answer does not depend on it.
                    let _offered = if click.outcome == Outcome::Redirected {
                        self.sink.offer(record, trace)
                    } else {
                        self.sink.offer_unreserved(record, trace)
                    };
                }
                Err(error) => {
                    self.metrics.lost(Loss::Encode);
                    tracing::error!(code = Loss::Encode.code(), %error, "cannot encode a click");
                }
            }
        });
    }

    fn count(&self, outcome: &'static str, started: Instant) {
        self.metrics.request(outcome);
        self.metrics.request_seconds.observe(started.elapsed().as_secs_f64());
    }
}

/// Describes request and answer in a span. The event id leads from the trace to the row of the click,
/// unless the click has no identifiers.
fn describe(span: &Span, head: &Parts, click: &schemas::RawClick<'_>) {
    span.record("http.request.method", click.method.as_str());
    span.record("http.response.status_code", click.status);
    span.record("url.path", head.uri.path());
    span.record("clicktrail.outcome", click.outcome.as_str());
    if !click.identifiers_stripped {
        span.record("clicktrail.event_id", tracing::field::display(click.event_id));
    }
}

/// The target of the redirect; `None` also if the target of the link is blocked.
fn location(found: &Resolution, facts: &RequestFacts<'_>) -> Option<HeaderValue> {
    let Resolution::Redirect(link) = found else { return None };
    let query = facts.query.filter(|_| link.passes_query());
    target::location(link.target(), facts.domain.as_deref(), query)
}

/// Whether the link leads into a ring of links of the requested host.
fn is_ring(links: &LinkTable, found: &Resolution, facts: &RequestFacts<'_>, now: i64) -> bool {
    match (found, facts.domain.as_deref()) {
        (Resolution::Redirect(link), Some(domain)) => links.is_ring(link, domain, facts.port, now),
        _ => false,
    }
}

fn decide<'a>(
    route: Route<'_>,
    found: &'a Resolution,
    location: Option<&'a HeaderValue>,
    now: i64,
) -> HttpAnswer<'a> {
    let plain = |outcome, status: StatusCode, cache, body| {
        let answer = RedirectAnswer { outcome, status, link: None, target: None };
        HttpAnswer { answer, cache, body }
    };
    let of_link = |outcome, status: StatusCode, link, body| {
        let answer = RedirectAnswer { outcome, status, link: Some(link), target: None };
        HttpAnswer { answer, cache: NO_STORE, body }
    };
    match route {
        Route::Base => plain(Outcome::BaseUrl, StatusCode::OK, NO_STORE, "a link service\n"),
        Route::Robots => plain(Outcome::Reserved, StatusCode::OK, A_DAY, ROBOTS),
        Route::Favicon => plain(Outcome::Reserved, StatusCode::NOT_FOUND, A_DAY, ""),
        Route::Reserved => plain(Outcome::Reserved, StatusCode::NOT_FOUND, NO_STORE, NOT_FOUND),
        Route::Slug(_) => match (found, location) {
            (Resolution::Redirect(link), Some(location)) => redirected(link, location, now),
            (Resolution::Redirect(link), None) => {
                of_link(Outcome::Blocked, StatusCode::NOT_FOUND, link, NOT_FOUND)
            }
            // Not 410 Gone: the link may be enabled again.
            (Resolution::Disabled(link), _) => {
                of_link(Outcome::Disabled, StatusCode::NOT_FOUND, link, NOT_FOUND)
            }
            (Resolution::Expired(link), _) => {
                of_link(Outcome::Expired, StatusCode::GONE, link, "expired\n")
            }
            (Resolution::Unknown, _) => {
                plain(Outcome::NotFound, StatusCode::NOT_FOUND, NO_STORE, NOT_FOUND)
            }
            // Not 404, which clients and crawlers remember: the slug may have a link.
            (Resolution::NotYet, _) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                plain(Outcome::Error, status, NO_STORE, "not ready: try again later\n")
            }
        },
    }
}

fn redirected<'a>(link: &'a Link, location: &'a HeaderValue, now: i64) -> HttpAnswer<'a> {
    let (status, cache) = match link.status() {
        Status::Found => (StatusCode::FOUND, NO_STORE),
        Status::Moved => {
            let left = link.expires_at().map_or(i64::MAX, |at| (at - now) / 1_000_000);
            let cache = format!("public, max-age={}", left.clamp(0, MOVED_SECONDS));
            #[expect(clippy::expect_used, reason = "digits and visible ASCII")]
            let cache = HeaderValue::from_str(&cache).expect("visible ASCII is a header value");
            (StatusCode::MOVED_PERMANENTLY, cache)
        }
    };
    let answer = RedirectAnswer {
        outcome: Outcome::Redirected,
        status,
        link: Some(link),
        target: location.to_str().ok().or(Some(link.target())),
    };
    HttpAnswer { answer, cache, body: "" }
}

/// The response to a request with these headers, whose memory it uses again: the parser takes the memory of a
/// response's headers for those of the next request of the connection.
fn response(visit: VisitAnswer, method: &Method, request: HeaderMap) -> Response<Full<Bytes>> {
    let VisitAnswer { status, cache, body, location, traceparent, .. } = visit;
    let is_head = *method == Method::HEAD;
    let sent = if is_head { "" } else { body };
    let mut response = Response::new(Full::new(Bytes::from_static(sent.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if request.capacity() <= REUSED_HEADERS_MAX {
        *headers = request;
        headers.clear();
    }
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(ROBOTS_TAG, HeaderValue::from_static("noindex"));
    // HEAD has the length of the answer to GET, to which hyper adds it.
    if is_head {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT, traceparent);
    }
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    response
}

fn method_not_allowed() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"use GET or HEAD\n")));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

fn too_many_requests() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"too many requests\n")));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(headers: usize) -> Response<Full<Bytes>> {
        let mut request = HeaderMap::with_capacity(headers);
        for number in 0..headers {
            let name = HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
            request.append(name.clone(), HeaderValue::from_static("of the request"));
            request.append(name, HeaderValue::from_static("again"));
        }
        let visit = VisitAnswer {
            outcome: Outcome::Redirected,
            status: StatusCode::FOUND,
            cache: NO_STORE,
            body: "",
            location: Some(HeaderValue::from_static("/there")),
            traceparent: None,
        };
        response(visit, &Method::GET, request)
    }

    #[test]
    fn an_answer_has_the_memory_of_the_heads_of_browsers_and_no_header_of_a_request() {
        for (headers, capacity) in [(0, 6..=6), (12, 12..=24), (20, 20..=24), (90, 6..=6)] {
            let response = answered(headers);
            let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["cache-control", "x-robots-tag", "location"]);
            let found = response.headers().capacity();
            assert!(capacity.contains(&found), "{headers} headers: memory for {found}");
        }
    }
}
