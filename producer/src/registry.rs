//! The id under which the registry knows the schema of our clicks.
//!
//! Asks, never registers: `processors setup` does that, once, by hand or by the
//! deployment. Retries what may mend itself, up to a time.

use std::error::Error as _;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::SrCall;
use schemas::{SchemaId, TopicName};
use thiserror::Error;

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why there is no id.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The setting does not make a client.
    #[error("schema registry setting: {0}")]
    Setting(String),
    /// The registry is there and has no such schema.
    #[error("subject {0} has no schema like ours: run `processors setup`")]
    Absent(String),
    /// The registry refuses us.
    #[error("schema registry refuses the request: {0}")]
    Refused(String),
    /// It was away, or in trouble, the whole time.
    #[error("schema registry did not answer within {seconds} s: {cause}")]
    Away {
        /// How long was tried.
        seconds: u64,
        /// The last answer.
        cause: String,
    },
}

impl RegistryError {
    /// Whether it may mend itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Setting(_) | Self::Absent(_) | Self::Refused(_) => false,
        }
    }
}

/// Whether a registry can be asked at these addresses at all.
///
/// # Errors
/// [`RegistryError::Setting`].
pub fn check(urls: &str) -> Result<(), RegistryError> {
    settings(urls).map(drop)
}

/// Asks a registry (`urls`: comma-separated, tried in order) for the id of a schema, again and
/// again while it is away, for `wait` at most.
///
/// # Errors
/// [`RegistryError`].
pub async fn id(
    urls: &str,
    topic: &TopicName,
    schema: &str,
    wait: Duration,
) -> Result<SchemaId, RegistryError> {
    let settings = settings(urls)?;
    let subject = topic.subject();
    let body = serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
    let deadline = tokio::time::Instant::now() + wait;
    let mut pause = PAUSE_MIN;
    loop {
        // Despite its name this is `POST /subjects/{subject}`: a look-up that registers nothing.
        let call = SrCall::PostForVersion(&subject, &body);
        let cause = match perform_sr_call(&settings, call).await {
            Ok(found) => match found.id {
                Some(id) => return Ok(SchemaId(id)),
                None => "the answer has no id".to_owned(),
            },
            Err(error) => match status(&error) {
                Some(404) => return Err(RegistryError::Absent(subject)),
                Some(401 | 403) => return Err(RegistryError::Refused(error.error)),
                _ => causes(&error),
            },
        };
        if tokio::time::Instant::now() + pause > deadline {
            return Err(RegistryError::Away { seconds: wait.as_secs(), cause });
        }
        tracing::warn!(cause, pause_ms = pause.as_millis(), "schema registry does not answer");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Asks a registry once for the schema of an id.
///
/// # Errors
/// [`RegistryError`].
pub async fn schema(urls: &str, id: SchemaId) -> Result<String, RegistryError> {
    let settings = settings(urls)?;
    let away = |cause| RegistryError::Away { seconds: TIMEOUT.as_secs(), cause };
    let found = perform_sr_call(&settings, SrCall::GetById(id.0)).await;
    let found = found.map_err(|error| match status(&error) {
        Some(401 | 403) => RegistryError::Refused(error.error),
        Some(_) | None => away(causes(&error)),
    })?;
    found.schema.ok_or_else(|| away(format!("the answer has no schema {id}")))
}

fn settings(urls: &str) -> Result<SrSettings, RegistryError> {
    let mut urls = urls.split(',').map(|url| url.trim().trim_end_matches('/').to_owned());
    let mut builder = SrSettings::new_builder(urls.next().unwrap_or_default());
    for url in urls {
        builder.add_url(url);
    }
    builder.set_timeout(TIMEOUT);
    builder.build().map_err(|error| RegistryError::Setting(error.error))
}

/// The client's own words end before the cause that helps ("connection refused").
fn causes(error: &SRCError) -> String {
    let mut words = error.error.clone();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

/// The client keeps the HTTP status only in its text.
fn status(error: &SRCError) -> Option<u16> {
    let (_, rest) = error.error.split_once("failed with status ")?;
    rest.get(..3)?.parse().ok()
}
