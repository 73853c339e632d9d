//! Answers questions of the page: expands the query, and asks the server that it is for.

use std::net::SocketAddr;

use bytes::Bytes;
use dashboards::Dashboard;
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::answer::{Answer, of_alerts, of_clickhouse, of_prometheus};
use super::http_client::HttpClient;
use super::question::{Expanded, InvalidQuestion, Promql, Question};
use crate::clickhouse::READER;

/// The settings of each query of ClickHouse: times come as seconds since 1970, whatever their zone, NaN and infinity as
/// texts, since JSON has no such numbers, and a query that takes longer than a viewer waits is stopped.
const SETTINGS: &str = "default_format=JSONCompact&date_time_output_format=unix_timestamp\
    &output_format_json_quote_64bit_integers=0&output_format_json_quote_denormals=1\
    &max_execution_time=30&max_result_rows=100000";

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The question has no query.
    #[error("{0}")]
    Invalid(#[from] InvalidQuestion),
    /// A server does not answer the query, or refuses it.
    #[error("{0}")]
    Failed(String),
    /// Metrics are of an optional part.
    #[error(
        "Prometheus is not running, so there are no metrics; `stack up --with prometheus` starts it"
    )]
    NoPrometheus,
}

/// The servers that the queries of a preview go to.
#[derive(Debug, Clone)]
pub struct PreviewServers {
    /// ClickHouse's HTTP port.
    pub clickhouse: SocketAddr,
    /// The database with the clicks.
    pub database: String,
    /// None in a stack without Prometheus.
    pub prometheus: Option<SocketAddr>,
}

/// The queries of the dashboards, and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    pub(crate) dashboards: Vec<Dashboard>,
    pub(crate) servers: PreviewServers,
    pub(crate) client: HttpClient,
}

impl Queries {
    /// Columns and rows of the query that is asked for.
    pub(crate) async fn answer(&self, question: &Question) -> Result<Answer, QueryError> {
        match question.expand(&self.dashboards)? {
            Expanded::Sql(text) => self.clickhouse(text).await,
            Expanded::Promql(query) => self.prometheus(&query).await,
            Expanded::Alerts => self.alerts().await,
        }
    }

    async fn clickhouse(&self, sql: String) -> Result<Answer, QueryError> {
        let PreviewServers { clickhouse, database, .. } = &self.servers;
        let url = format!("http://{clickhouse}/?database={database}&{SETTINGS}");
        let request = Request::post(url)
            .header("X-ClickHouse-User", READER.0)
            .header("X-ClickHouse-Key", READER.1)
            .body(Full::new(Bytes::from(sql)));
        let failed = |text: String| {
            QueryError::Failed(format!("ClickHouse: {text}; `stack status` shows whether it runs"))
        };
        let request = request.map_err(|error| failed(error.to_string()))?;
        let (status, body) = self.client.send(request).await.map_err(failed)?;
        if !status.is_success() {
            return Err(QueryError::Failed(String::from_utf8_lossy(&body).trim().to_owned()));
        }
        of_clickhouse(&body).map_err(|error| failed(format!("its answer is not readable: {error}")))
    }

    async fn prometheus(&self, query: &Promql) -> Result<Answer, QueryError> {
        let (path, form) = form(query);
        let body = self.api(path, Some(form)).await?;
        of_prometheus(&body, query.is_table).map_err(|error| prometheus_failed(&error.to_string()))
    }

    /// The alerts of Prometheus that fire or wait.
    async fn alerts(&self) -> Result<Answer, QueryError> {
        let body = self.api("alerts", None).await?;
        of_alerts(&body).map_err(|error| prometheus_failed(&error.to_string()))
    }

    /// What Prometheus answers to a request of its API; a form is sent by POST.
    async fn api(&self, path: &str, form: Option<String>) -> Result<Bytes, QueryError> {
        let address = self.servers.prometheus.ok_or(QueryError::NoPrometheus)?;
        let url = format!("http://{address}/api/v1/{path}");
        let request = match form {
            Some(form) => Request::post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form))),
            None => Request::get(url).body(Full::default()),
        };
        let request = request.map_err(|_| QueryError::NoPrometheus)?;
        let sent = self.client.send(request).await;
        let (status, body) = sent.map_err(|_| QueryError::NoPrometheus)?;
        if !status.is_success() {
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            let cause = answer["error"].as_str().unwrap_or("it refuses the query");
            return Err(prometheus_failed(cause));
        }
        Ok(body)
    }
}

fn prometheus_failed(cause: &str) -> QueryError {
    QueryError::Failed(format!("Prometheus: {cause}"))
}

/// The path of Prometheus' API, and the form that it takes.
fn form(query: &Promql) -> (&'static str, String) {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", &query.text).append_pair("timeout", "30s");
    let path = match query.step {
        None => {
            form.append_pair("time", &query.to.to_string());
            "query"
        }
        Some(step) => {
            form.append_pair("start", &query.from.to_string());
            form.append_pair("end", &query.to.to_string());
            form.append_pair("step", &step.to_string());
            "query_range"
        }
    };
    (path, form.finish())
}
