//! `POST /v1/clicks`: stores the clicks of other redirectors, and answers when they are durable.
//!
//! A 200 means that each accepted click of the request is as durable as the sync policy promises. If the
//! whole request is refused, none of its clicks is stored. Slow work runs for a few requests at a time,
//! on other threads than the redirects. The limits of the requests (`collector_limits`) bound their
//! memory, for any content and any sender.

pub mod answer_body;
pub mod body;
pub mod collected_click;
pub mod collector_limits;
pub mod json_records;
pub mod record_fault;
pub mod record_results;
pub mod refusal;
pub mod request_slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::http::request;
use hyper::{Method, Response, StatusCode};
use schemas::{EventId, JsonClick};

use crate::bearer_token::BearerTokens;
use crate::click::ClientIp;
use crate::client::day_keys::{DayKeys as _, KeyRing};
use crate::client::policy::{self, ClientContext};
use crate::client::privacy::PrivacyPolicies;
use crate::client::stripped_texts::StrippedTexts;
use crate::clock::now;
use crate::collector::answer_body::AnswerBody;
use crate::collector::collected_click::{
    CollectorWindow, collected_click, collected_key, normalised,
};
use crate::collector::collector_limits::CollectorLimits;
use crate::collector::json_records::BodyFormat;
use crate::collector::record_fault::RecordFault;
use crate::collector::record_results::{RecordResults, RecordsAnswer};
use crate::collector::refusal::Refusal;
use crate::collector::request_slot::{RequestSlot, RequestSlots, WORK_WAIT};
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use crate::outbox::Outbox;
use crate::outbox::durable_batch::{DurableBatch, Ticket};
use crate::outbox::offer::{Loss, TraceHeaders};
use crate::random_bits;
use crate::redirect::request_facts;

/// The path of the collector.
pub const PATH: &str = "/v1/clicks";
/// Longest time to read the records of a request; a body of 1 MiB takes some tenths of a second.
const READ_TIME: Duration = Duration::from_secs(10);
/// Longest wait for the disk to make clicks durable.
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// The parts of a collector.
#[derive(Debug)]
pub struct CollectorParts {
    /// Tokens of the senders.
    pub tokens: BearerTokens,
    /// Limits of one request.
    pub limits: CollectorLimits,
    /// The outbox that stores the clicks.
    pub outbox: Arc<Outbox>,
    /// The privacy policies of the clicks.
    pub privacy: PrivacyPolicies,
    /// Keys of visitor ids.
    pub keys: Arc<KeyRing>,
    /// The source of records that name none.
    pub node: String,
    /// The metrics of the process.
    pub metrics: Metrics,
}

/// Accepts clicks of other redirectors.
#[derive(Debug)]
pub struct Collector {
    parts: CollectorParts,
    slots: RequestSlots,
}

/// The trace of a request, for the headers of its records.
#[derive(Debug, Default)]
struct RequestTrace {
    parent: Option<String>,
    state: Option<String>,
}

/// A request whose body has been read.
#[derive(Debug)]
struct ReceivedBody {
    bytes: Vec<u8>,
    format: BodyFormat,
    compressed: bool,
    trace: RequestTrace,
    slot: RequestSlot,
}

impl Collector {
    /// A collector with these parts.
    pub fn new(parts: CollectorParts) -> Self {
        let slots = RequestSlots::new(parts.limits, &parts.metrics);
        Self { parts, slots }
    }

    /// Longest time from the head of a request to its answer.
    pub fn answer_time(&self) -> Duration {
        self.parts.limits.time + WORK_WAIT + READ_TIME + DURABLE_WAIT
    }

    /// Answers one request when its clicks are durable.
    #[expect(
        clippy::disallowed_methods,
        reason = "the task outlives the connection, not the process"
    )]
    pub async fn answer<B>(self: Arc<Self>, head: request::Parts, body: B) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let received = match self.receive(&head.headers, body).await {
            Ok(received) => received,
            Err(refusal) => return self.done(Err(refusal)),
        };
        // A separate task counts the clicks even if the sender does not wait for the answer.
        let this = Arc::clone(&self);
        let task = async move {
            let taken = this.take(received).await;
            this.done(taken)
        };
        tokio::spawn(task).await.unwrap_or_else(|_| self.done(Err(Refusal::Internal)))
    }

    /// Counts a request, and builds its answer.
    fn done(&self, taken: Result<(RecordsAnswer, RequestSlot), Refusal>) -> Response<AnswerBody> {
        let result = match &taken {
            Ok((records, _)) if records.status == StatusCode::OK => "ok",
            Ok(_) => "rejected",
            Err(refusal) => refusal.code(),
        };
        self.parts.metrics.collector_requests.get_or_create(&ResultLabel { result }).inc();
        match taken {
            Ok((records, slot)) => json(records.status, AnswerBody::new(records.json, Some(slot))),
            Err(refusal) => refused(refusal),
        }
    }

    /// Reads the body of a request.
    async fn receive<B>(&self, headers: &HeaderMap, body: B) -> Result<ReceivedBody, Refusal>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let CollectorParts { tokens, limits, .. } = &self.parts;
        if !tokens.admit(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
            return Err(Refusal::Unauthorized);
        }
        let (format, compressed) = (BodyFormat::of(headers)?, body::is_compressed(headers)?);
        let slot = self.slots.take(body::declared_bytes(headers), compressed)?;
        let bytes = body::read(headers, body, limits.bytes, limits.time).await?;
        Ok(ReceivedBody { bytes, format, compressed, trace: RequestTrace::of(headers), slot })
    }

    /// Stores the clicks of a body.
    async fn take(
        self: &Arc<Self>,
        received: ReceivedBody,
    ) -> Result<(RecordsAnswer, RequestSlot), Refusal> {
        let ReceivedBody { bytes: body, format, compressed, trace, slot } = received;
        let permit = self.slots.work().await?;
        let this = Arc::clone(self);
        let offered = tokio::task::spawn_blocking(move || {
            // Permit and slot move here: they end with the work.
            let _permit = permit;
            let CollectorLimits { bytes, records, .. } = this.parts.limits;
            let body = if compressed { body::decompress(&body, bytes)? } else { body };
            let (answer, ticket) = this.offer(&format.records(&body, records)?, &trace)?;
            Ok::<_, Refusal>((answer, ticket, slot))
        });
        let (answer, ticket, slot) = offered.await.map_err(|_| Refusal::Internal)??;
        if let Some(ticket) = ticket {
            match tokio::time::timeout(DURABLE_WAIT, self.parts.outbox.durable(ticket)).await {
                Ok(durable) => durable.map_err(Refusal::Outbox)?,
                Err(_) => return Err(Refusal::NotDurable),
            }
        }
        answer.count(&self.parts.metrics);
        Ok((answer, slot))
    }

    /// Offers the clicks of all valid records, or none of them.
    fn offer(
        &self,
        records: &[&[u8]],
        trace: &RequestTrace,
    ) -> Result<(RecordsAnswer, Option<Ticket>), Refusal> {
        let (mut batch, mut results) = (DurableBatch::default(), RecordResults::default());
        let mut datum = Vec::new();
        for record in records {
            let click = json_records::parse(record)
                .and_then(|object| self.click(object, trace, &mut batch, &mut datum));
            results.add(click);
        }
        let answer = results.finish();
        if batch.is_empty() {
            return Ok((answer, None));
        }
        let ticket = self.parts.outbox.offer_all(&batch).map_err(|loss| {
            // A request beyond the memory of the outbox would fail again at each attempt.
            if loss == Loss::TooLarge { Refusal::BodyTooLarge } else { Refusal::Outbox(loss) }
        })?;
        self.parts.metrics.clicks_offered.inc_by(batch.len() as u64);
        Ok((answer, Some(ticket)))
    }

    /// Adds the click of a record to the batch; returns `None` if a privacy policy withholds it.
    fn click(
        &self,
        object: JsonClick,
        trace: &RequestTrace,
        batch: &mut DurableBatch,
        datum: &mut Vec<u8>,
    ) -> Result<Option<EventId>, RecordFault> {
        let CollectorParts { limits, privacy, keys, node, metrics, .. } = &self.parts;
        let object = normalised(object);
        let window = CollectorWindow { now: now(), days: limits.days };
        let key = collected_key(&object, window, &random_bits::event_bits())?;
        let client_ip = object.client_ip.map(ClientIp::new);
        let texts = StrippedTexts::default();
        let client = ClientContext {
            ip: client_ip.as_ref(),
            link_opts_out: object.opt_out,
            stripped: &texts,
        };
        let mut click = collected_click(key, node, &object, object.outcome()?);
        if !policy::apply(*privacy, &mut click, client, |day| keys.key(day), metrics) {
            return Ok(None);
        }
        datum.clear();
        click.write_datum(datum).map_err(|error| RecordFault::Encode(error.to_string()))?;
        // A trace identifies its visitor, so a click without identifiers has no trace.
        let stripped = click.identifiers_stripped;
        let trace = if stripped { TraceHeaders::default() } else { trace.headers() };
        if batch.push(datum, trace) { Ok(Some(key.event_id)) } else { Err(RecordFault::TooLarge) }
    }
}

impl RequestTrace {
    fn of(headers: &HeaderMap) -> Self {
        let Some((parent, state)) = request_facts::parent(headers) else { return Self::default() };
        let parent = Some(parent.traceparent().as_str().to_owned());
        Self { parent, state: state.map(str::to_owned) }
    }

    fn headers(&self) -> TraceHeaders<'_> {
        TraceHeaders { traceparent: self.parent.as_deref(), tracestate: self.state.as_deref() }
    }
}

/// Whether a request is for the collector.
pub fn is_for_collector(head: &request::Parts) -> bool {
    head.method == Method::POST && head.uri.path() == PATH
}

/// The answer if the collector is off.
pub fn collector_off(metrics: &Metrics) -> Response<AnswerBody> {
    let result = Refusal::Off.code();
    metrics.collector_requests.get_or_create(&ResultLabel { result }).inc();
    refused(Refusal::Off)
}

fn refused(refusal: Refusal) -> Response<AnswerBody> {
    let body = serde_json::json!({ "code": refusal.code(), "why": refusal.to_string() });
    let body = AnswerBody::new(body.to_string().into(), None);
    let mut response = json(refusal.status(), body);
    let headers = response.headers_mut();
    match refusal.status() {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        StatusCode::UNAUTHORIZED => {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(hyper::header::WWW_AUTHENTICATE, bearer);
        }
        _ => {}
    }
    response
}

fn json(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
