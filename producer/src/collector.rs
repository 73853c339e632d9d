//! `POST /v1/clicks`: clicks of other redirectors, from a request to a durable answer.
//!
//! A 200 says that every click of the request is on the disk, as far as the sync policy goes. A
//! refusal of the whole request took nothing of it. What takes time is done beside the redirects.

pub mod body;
pub mod record;
pub mod refusal;
#[cfg(test)]
mod tests;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::http::request;
use hyper::{Method, Response, StatusCode};
use schemas::{EventId, datum};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::collector::record::{Fault, Record};
use crate::collector::refusal::Refusal;
use crate::collector::token::Tokens;

use crate::click::{self, ClientIp};
use crate::client::day_keys::KeyRing;
use crate::client::policy;
use crate::client::privacy::Privacy;
use crate::clock::now;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;
use crate::outbox::Outbox;
use crate::outbox::durable_batch::{DurableBatch, Ticket};
use crate::outbox::offer::{Loss, TraceHeaders};
use crate::redirect::request_facts;
use crate::request_span;
use service::number::gauge;

/// Where clicks are sent to.
pub const PATH: &str = "/v1/clicks";
/// Most requests at once; each holds a body in memory.
const OPEN_MAX: usize = 64;
const NO_OBJECT: &str = "not an object";
/// How long a disk may take to make clicks durable.
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// What one request may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes, packed and unpacked.
    pub bytes: usize,
    /// Time in which the body must have come.
    pub time: Duration,
    /// Most records.
    pub records: usize,
}

/// What a collector works with.
#[derive(Debug)]
pub struct Parts {
    /// Who may send.
    pub tokens: Tokens,
    /// How much.
    pub limits: Limits,
    /// Where clicks are kept.
    pub outbox: Arc<Outbox>,
    /// What they may say.
    pub privacy: Privacy,
    /// Keys for visitor ids.
    pub keys: Arc<KeyRing>,
    /// The source of a record that names none.
    pub node: String,
    /// What is counted.
    pub metrics: Metrics,
}

/// Takes clicks of other redirectors.
#[derive(Debug)]
pub struct Collector {
    parts: Parts,
    slots: Semaphore,
}

/// How records stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One object, or an array of objects.
    Json,
    /// An object a line.
    Lines,
}

/// What became of one record.
#[derive(Debug, Serialize)]
struct Verdict {
    index: usize,
    /// `accepted`, `withheld` (a privacy policy says so), `rejected`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What became of a request's records.
#[derive(Debug, Default, Serialize)]
struct Verdicts {
    accepted: usize,
    withheld: usize,
    rejected: usize,
    records: Vec<Verdict>,
}

/// The request's trace, for its records.
#[derive(Debug, Default)]
struct Trace {
    parent: Option<String>,
    state: Option<String>,
}

impl Collector {
    /// A collector of these parts.
    pub fn new(parts: Parts) -> Self {
        let bound = gauge(OPEN_MAX);
        parts.metrics.collector_open_bound.set(bound);
        Self { parts, slots: Semaphore::new(OPEN_MAX) }
    }

    /// Answers one request, when its clicks are durable.
    pub async fn answer<B>(self: Arc<Self>, head: request::Parts, body: B) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let taken = self.take(&head.headers, body).await;
        let result = match &taken {
            Ok(verdicts) if verdicts.rejected == 0 => "ok",
            Ok(_) => "rejected",
            Err(refusal) => refusal.code(),
        };
        self.parts.metrics.collector_requests.get_or_create(&ResultLabel { result }).inc();
        match taken {
            Ok(verdicts) => json(verdicts.status(), &verdicts),
            Err(refusal) => refused(refusal),
        }
    }

    async fn take<B>(self: &Arc<Self>, headers: &HeaderMap, body: B) -> Result<Verdicts, Refusal>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Parts { tokens, limits, outbox, metrics, .. } = &self.parts;
        if !tokens.admit(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
            return Err(Refusal::Unauthorized);
        }
        let (form, packed) = (Form::of(headers)?, body::is_packed(headers)?);
        let _slot = self.slots.try_acquire().map_err(|_| Refusal::Busy)?;
        let _open = Open::new(metrics);
        let body = body::read(headers, body, limits.bytes, limits.time).await?;
        let (this, trace) = (Arc::clone(self), Trace::of(headers));
        let worked = tokio::task::spawn_blocking(move || {
            let bytes_max = this.parts.limits.bytes;
            let body = if packed { body::unpack(&body, bytes_max)? } else { body };
            this.offer(records(form, &body, this.parts.limits.records)?, &trace)
        });
        let (verdicts, ticket) = worked.await.map_err(|_| Refusal::Internal)??;
        if let Some(ticket) = ticket {
            match tokio::time::timeout(DURABLE_WAIT, outbox.durable(ticket)).await {
                Ok(kept) => kept.map_err(Refusal::Outbox)?,
                Err(_) => return Err(Refusal::NotDurable),
            }
        }
        verdicts.count(metrics);
        Ok(verdicts)
    }

    /// Offers what is good among the records, all of it or nothing. Waits for keys.
    fn offer(
        &self,
        records: Vec<Result<Record, String>>,
        trace: &Trace,
    ) -> Result<(Verdicts, Option<Ticket>), Refusal> {
        let (mut batch, mut verdicts) = (DurableBatch::default(), Verdicts::default());
        let mut datum = Vec::new();
        for record in records {
            let made = record
                .map_err(Fault::Malformed)
                .and_then(|record| self.click(record, trace, (&mut batch, &mut datum)));
            verdicts.add(made);
        }
        if batch.is_empty() {
            return Ok((verdicts, None));
        }
        let ticket = self.parts.outbox.offer_all(&batch).map_err(|loss| {
            // What memory never has room for is no matter of waiting.
            if loss == Loss::TooLarge { Refusal::BodyTooLarge } else { Refusal::Outbox(loss) }
        })?;
        self.parts.metrics.clicks_offered.inc_by(batch.len() as u64);
        Ok((verdicts, Some(ticket)))
    }

    /// Adds the click of a record to the batch; none if a privacy policy withholds it.
    fn click(
        &self,
        mut record: Record,
        trace: &Trace,
        (batch, buffer): (&mut DurableBatch, &mut Vec<u8>),
    ) -> Result<Option<EventId>, Fault> {
        let Parts { privacy, keys, node, metrics, .. } = &self.parts;
        record.domain.iter_mut().for_each(|domain| domain.make_ascii_lowercase());
        let key = record.key(now(), &request_span::random())?;
        let client_ip = record.client_ip.map(ClientIp::new);
        let mut click = click::collected(key, node, &record, record.outcome()?);
        let shielded = (&mut click, client_ip.as_ref());
        if !policy::shield(*privacy, shielded, record.opt_out, |day| keys.fetch(day), metrics) {
            return Ok(None);
        }
        buffer.clear();
        datum::write(&click, buffer).map_err(|it| Fault::Encode(it.to_string()))?;
        match batch.push(buffer, trace.headers()) {
            true => Ok(Some(key.event_id)),
            false => Err(Fault::TooLarge),
        }
    }
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::Lines),
            _ => Err(Refusal::ContentType),
        }
    }
}

/// The records of a body, each by itself.
fn records(
    form: Form,
    body: &[u8],
    records_max: usize,
) -> Result<Vec<Result<Record, String>>, Refusal> {
    let text = |error: serde_json::Error| error.to_string();
    let body = body.trim_ascii();
    let records: Vec<_> = match form {
        Form::Json if body.starts_with(b"[") => {
            let values: Vec<serde_json::Value> =
                serde_json::from_slice(body).map_err(|_| Refusal::BodyMalformed)?;
            let record = |value: serde_json::Value| match value.is_object() {
                true => serde_json::from_value(value).map_err(text),
                false => Err(NO_OBJECT.to_owned()),
            };
            values.into_iter().map(record).collect()
        }
        Form::Json => vec![object(body)],
        Form::Lines => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| !line.is_empty());
            // One more than there may be, and no further.
            let lines = lines.take(records_max.saturating_add(1));
            lines.map(object).collect()
        }
    };
    match records.len() > records_max {
        true => Err(Refusal::TooManyRecords),
        false => Ok(records),
    }
}

fn object(text: &[u8]) -> Result<Record, String> {
    match text.starts_with(b"{") {
        true => serde_json::from_slice(text).map_err(|error| error.to_string()),
        // An array would be read as fields in their order.
        false => Err(NO_OBJECT.to_owned()),
    }
}

impl Verdicts {
    fn add(&mut self, made: Result<Option<EventId>, Fault>) {
        let index = self.records.len();
        let verdict = |status| Verdict { index, status, event_id: None, code: None, why: None };
        self.records.push(match made {
            Ok(Some(event_id)) => {
                self.accepted += 1;
                Verdict { event_id: Some(event_id), ..verdict("accepted") }
            }
            Ok(None) => {
                self.withheld += 1;
                verdict("withheld")
            }
            Err(fault) => {
                self.rejected += 1;
                let why = Some(fault.to_string());
                Verdict { code: Some(fault.code()), why, ..verdict("rejected") }
            }
        });
    }

    fn status(&self) -> StatusCode {
        match (self.rejected, self.accepted + self.withheld) {
            (0, _) => StatusCode::OK,
            (_, 0) => StatusCode::BAD_REQUEST,
            _ => StatusCode::MULTI_STATUS,
        }
    }

    fn count(&self, metrics: &Metrics) {
        for verdict in &self.records {
            let result = verdict.code.unwrap_or(verdict.status);
            metrics.collector_records.get_or_create(&ResultLabel { result }).inc();
        }
    }
}

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let Some((parent, state)) = request_facts::parent(headers) else { return Self::default() };
        let parent = Some(parent.traceparent().as_str().to_owned());
        Self { parent, state: state.map(str::to_owned) }
    }

    fn headers(&self) -> TraceHeaders<'_> {
        TraceHeaders { traceparent: self.parent.as_deref(), tracestate: self.state.as_deref() }
    }
}

/// One request in the gauge.
struct Open<'m>(&'m Metrics);

impl<'m> Open<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        metrics.collector_open.inc();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.collector_open.dec();
    }
}

/// Whether a request is for the collector.
pub fn is_asked(head: &request::Parts) -> bool {
    head.method == Method::POST && head.uri.path() == PATH
}

/// The answer where there is no collector.
pub fn off(metrics: &Metrics) -> Response<Full<Bytes>> {
    let result = Refusal::Off.code();
    metrics.collector_requests.get_or_create(&ResultLabel { result }).inc();
    refused(Refusal::Off)
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "code": refusal.code(), "why": refusal.to_string() });
    let mut response = json(refusal.status(), &body);
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

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
