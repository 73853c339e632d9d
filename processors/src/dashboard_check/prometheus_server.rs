//! Asks a Prometheus as Grafana does.

use std::time::Duration;

use broker::ServerError;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// Longest time of an answer; Prometheus itself ends a query after two minutes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A Prometheus that answers.
#[derive(Debug)]
pub(super) struct PrometheusServer {
    client: Client,
    url: Url,
}

/// The times of a query, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The first one; that of an instant query is not used.
    pub(super) from: i64,
    /// The last one.
    pub(super) to: i64,
    /// Seconds between two; an instant query has none.
    pub(super) step: Option<i64>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: String,
}

impl PrometheusServer {
    /// The server at a URL.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn at(url: &Url) -> Result<Self, ServerError> {
        let client = Client::builder().timeout(DEADLINE).build();
        let client = client.map_err(|error| unreachable(url, error))?;
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let server = Self { client, url };
        let probe = Times { from: 0, to: 0, step: None };
        server.series("vector(1)", probe).await?.map_err(|text| unreachable(&server.url, text))?;
        Ok(server)
    }

    /// The number of series that a query returns. The inner error is the refusal of the query.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn series(
        &self,
        query: &str,
        times: Times,
    ) -> Result<Result<usize, String>, ServerError> {
        let (from, to) = (times.from.to_string(), times.to.to_string());
        let (path, pairs) = match times.step {
            None => ("api/v1/query", vec![("time", to)]),
            Some(step) => {
                let pairs = vec![("start", from), ("end", to), ("step", step.to_string())];
                ("api/v1/query_range", pairs)
            }
        };
        let failed = |error: &dyn std::fmt::Display| unreachable(&self.url, error);
        let mut url = self.url.join(path).map_err(|error| failed(&error))?;
        url.query_pairs_mut().append_pair("query", query).extend_pairs(pairs);
        let answer =
            self.client.get(url).send().await.map_err(|error| failed(&error.without_url()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| failed(&error.without_url()))?;
        let Ok(answer) = serde_json::from_str::<Answer>(&text) else {
            return Err(failed(&format_args!("status {status}, and not an answer of Prometheus")));
        };
        if !status.is_success() {
            return Ok(Err(format!("{} (status {})", answer.error, status.as_u16())));
        }
        // A scalar has one value, which is a list of time and number.
        let is_scalar = answer.data["resultType"] == "scalar";
        let series = answer.data["result"].as_array().map_or(0, Vec::len);
        Ok(Ok(if is_scalar { 1 } else { series }))
    }
}

fn unreachable(url: &Url, error: impl std::fmt::Display) -> ServerError {
    let address = service::shown_url::without_secrets(url.as_str());
    ServerError::retryable("prometheus_unreachable", format!("{address}: {error}"))
}
