//! The schema registry's REST calls, through `schema_registry_converter`.
//!
//! Uses only its plain calls, since its own cache keeps errors for the life of the process. Callers
//! decide what to cache.
#![expect(clippy::disallowed_methods, reason = "repeats a request until a deadline")]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry as api;
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, SchemaType, SrCall, SuppliedSchema,
};
use schemas::SchemaId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::ServerError;

/// A registry, or several that hold the same schemas.
#[derive(Clone)]
pub struct Registry {
    /// The first of them.
    url: String,
    /// All of them.
    urls: Vec<String>,
    settings: api::SrSettings,
    http: reqwest::Client,
}

/// The URLs may hold passwords.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// A registry that does not answer within this time is unreachable.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most versions of a subject whose ids are requested.
const VERSIONS_MAX: usize = 1_000;

/// "Subject not found", "version not found", "schema not found".
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40_401..=40_403;

/// Code of a registry that refuses the credentials.
const ACCESS: &str = "registry_access";

/// Code of a URL that answers 404 without an error code of the registry.
const WRONG_URL: &str = "registry_not_found";

impl Registry {
    /// A registry by its base URLs, comma-separated and tried in order. Sends no request.
    ///
    /// # Errors
    /// Fatal: not a URL.
    pub fn new(urls: &str) -> Result<Self, ServerError> {
        let urls = urls.split(',').map(|url| url.trim().trim_end_matches('/').to_owned());
        let urls: Vec<String> = urls.collect();
        let url = urls.first().cloned().unwrap_or_default();
        let mut builder = api::SrSettings::new_builder(url.clone());
        for url in urls.iter().skip(1) {
            builder.add_url(url.clone());
        }
        let settings = builder
            .set_timeout(TIMEOUT)
            .build()
            .map_err(|error| ServerError::fatal("registry_url", error))?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| ServerError::fatal("registry_url", error))?;
        Ok(Self { url, urls, settings, http })
    }

    /// The schema of an id, or `None` when the registry answers that there is none.
    ///
    /// # Errors
    /// Retryable: anything but a clear answer.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<String>, ServerError> {
        // Registries number schemas by Java's integers and give no clear answer about a larger id.
        if i32::try_from(id.0).is_err() {
            return Ok(None);
        }
        let answer = api::get_schema_by_id(id.0, &self.settings).await;
        self.found(answer.map(|schema| schema.schema))
    }

    /// The id of `schema` under `subject`, or `None` when it is not registered there. Registers
    /// nothing.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<Option<SchemaId>, ServerError> {
        let body = json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        // Despite its name this is `POST /subjects/{subject}`: a look-up that registers nothing.
        let call = SrCall::PostForVersion(subject, &body);
        let answer = api::perform_sr_call(&self.settings, call).await;
        let id = self.found(answer.map(|raw| raw.id))?;
        match id {
            Some(Some(id)) => Ok(Some(SchemaId(id))),
            Some(None) => {
                Err(ServerError::retryable("registry_unreachable", "the answer has no schema id"))
            }
            None => Ok(None),
        }
    }

    /// [`Registry::lookup`], repeated for at most `wait` while the registry is unreachable.
    ///
    /// # Errors
    /// Fatal: the registry has no such schema, refuses the credentials, or is not at this URL.
    /// Retryable: it was unreachable the whole time.
    pub async fn lookup_within(
        &self,
        subject: &str,
        schema: &str,
        wait: Duration,
    ) -> Result<SchemaId, ServerError> {
        let deadline = Instant::now() + wait;
        for attempt in 0.. {
            let error = match self.lookup(subject, schema).await {
                Ok(Some(id)) => return Ok(id),
                Ok(None) => {
                    let text =
                        format!("subject {subject} has no such schema: run `processors setup`");
                    return Err(ServerError::fatal("schema_unregistered", text));
                }
                Err(error) if [ACCESS, WRONG_URL].contains(&error.code) => {
                    return Err(ServerError::fatal(error.code, error.message));
                }
                Err(error) => error,
            };
            let delay = Backoff::DELIVERY.random_delay(attempt);
            if !error.is_retryable() || Instant::now() + delay > deadline {
                return Err(error);
            }
            tracing::warn!(code = error.code, cause = error.message, "waiting for the registry");
            tokio::time::sleep(delay).await;
        }
        unreachable!("attempts do not end before the deadline")
    }

    /// Every schema registered under `subject`, oldest first.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<String>, ServerError> {
        let versions = api::get_all_versions(&self.settings, subject.to_owned()).await;
        let mut schemas = Vec::new();
        for version in self.found(versions)?.unwrap_or_default() {
            let call = SrCall::GetBySubjectAndVersion(subject, version);
            let schema = self.found(api::perform_sr_call(&self.settings, call).await)?;
            schemas.extend(schema.and_then(|raw| raw.schema));
        }
        Ok(schemas)
    }

    /// The base URLs, in order.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Whether a registry has a schema of this id, under any subject.
    ///
    /// # Errors
    /// Retryable: none gives a clear answer.
    pub async fn has(&self, id: SchemaId) -> Result<bool, ServerError> {
        let mut answer = Err(unreadable("one of a registry"));
        for url in &self.urls {
            match (self.schema_at(url, id).await, &answer) {
                (Ok(Some(_)), _) => return Ok(true),
                (Ok(None), _) => answer = Ok(false),
                (Err(failed), Err(_)) => answer = Err(failed),
                (Err(_), Ok(_)) => {}
            }
        }
        answer
    }

    /// The schema of an id at the registry `url`.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub(crate) async fn schema_at(
        &self,
        url: &str,
        id: SchemaId,
    ) -> Result<Option<String>, ServerError> {
        if i32::try_from(id.0).is_err() {
            return Ok(None);
        }
        let found = self.get(&format!("{url}/schemas/ids/{id}?deleted=true")).await?;
        let text = |found: Value| found["schema"].as_str().map(str::to_owned);
        found.map(|found| text(found).ok_or_else(|| unreadable("a schema"))).transpose()
    }

    /// The number and the schema id of each version of `subject` at the registry `url`, at most the
    /// newest [`VERSIONS_MAX`]. Softly deleted versions are included: the log may hold their records.
    /// Requests the versions that are not in `known`, and the newest one, which shows that a subject was
    /// recreated.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub(crate) async fn subject_ids_at(
        &self,
        url: &str,
        subject: &str,
        known: &BTreeMap<u64, SchemaId>,
    ) -> Result<BTreeMap<u64, SchemaId>, ServerError> {
        let path = format!("{url}/subjects/{subject}/versions");
        let Some(listed) = self.get(&format!("{path}?deleted=true")).await? else {
            return Ok(BTreeMap::new());
        };
        let numbers = listed.as_array().ok_or_else(|| unreadable("the list of versions"))?;
        let mut numbers: Vec<u64> = numbers.iter().filter_map(Value::as_u64).collect();
        numbers.sort_unstable();
        numbers.reverse();
        numbers.truncate(VERSIONS_MAX);
        let mut ids = BTreeMap::new();
        let mut is_same_subject = true;
        for (index, number) in numbers.into_iter().enumerate() {
            let remembered = known.get(&number).copied().filter(|_| is_same_subject);
            if let Some(id) = remembered.filter(|_| index > 0) {
                ids.insert(number, id);
                continue;
            }
            let version = self.get(&format!("{path}/{number}?deleted=true")).await?;
            // Deleted since it was listed.
            let Some(version) = version else { continue };
            let id = version["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            let id = SchemaId(id.ok_or_else(|| unreadable("the id of a version"))?);
            is_same_subject &= remembered.is_none_or(|remembered| remembered == id);
            ids.insert(number, id);
        }
        Ok(ids)
    }

    /// The answer of a registry for `url`; `None`: it answers that there is nothing.
    async fn get(&self, url: &str) -> Result<Option<Value>, ServerError> {
        let answer = self.http.get(url).send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.as_u16() == 404 {
            let body: Value = answer.json().await.unwrap_or_default();
            let known = body["error_code"].as_u64().and_then(|code| u32::try_from(code).ok());
            if known.is_some_and(|code| NOT_FOUND.contains(&code)) {
                return Ok(None);
            }
            let text = format!("{status} without an error code of the registry");
            return Err(ServerError::retryable(code(Some(404)), text));
        }
        let answer = answer.error_for_status().map_err(unreachable)?;
        answer.json().await.map(Some).map_err(unreachable)
    }

    /// Registers `schema` (the same text again changes nothing) and returns its id.
    ///
    /// # Errors
    /// Fatal when the registry finds it incompatible.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, ServerError> {
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let registered = api::post_schema(&self.settings, subject.to_owned(), supplied).await;
        registered.map(|schema| SchemaId(schema.id)).map_err(|error| match raw(&error) {
            Some(raw) if raw.error_code / 100 == 409 || raw.error_code == 409 => {
                ServerError::fatal("schema_incompatible", &raw.message)
            }
            _ => self.server_error(&error),
        })
    }

    /// The compatibility level of `subject`, where it has one of its own.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, ServerError> {
        let answer = self.http.get(self.config_url(subject)).send().await.map_err(unreachable)?;
        if answer.status().as_u16() == 404 {
            return Ok(None);
        }
        let answer = answer.error_for_status().map_err(unreachable)?;
        let body: Value = answer.json().await.map_err(unreachable)?;
        Ok(body["compatibilityLevel"].as_str().map(str::to_owned))
    }

    /// Sets the compatibility level of `subject`.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), ServerError> {
        let body = json!({ "compatibility": level });
        let answer = self.http.put(self.config_url(subject)).json(&body).send().await;
        answer.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
        Ok(())
    }

    fn found<T>(&self, answer: Result<T, SRCError>) -> Result<Option<T>, ServerError> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if raw(&error).is_some_and(|raw| NOT_FOUND.contains(&raw.error_code)) => {
                Ok(None)
            }
            Err(error) => Err(self.server_error(&error)),
        }
    }

    /// The client's text about a status does not name the URL.
    fn server_error(&self, error: &SRCError) -> ServerError {
        let text = format!("{}: {}", without_secrets(&self.urls), causes(error));
        ServerError::retryable(code(status(error)), text)
    }

    fn config_url(&self, subject: &str) -> String {
        format!("{}/config/{subject}", self.url)
    }
}

fn unreadable(what: &str) -> ServerError {
    ServerError::retryable("registry_unreachable", format!("the answer is not {what}"))
}

fn raw(error: &SRCError) -> Option<&RawError> {
    std::error::Error::source(error)?.downcast_ref()
}

/// The URLs without users, passwords and queries.
fn without_secrets(urls: &[String]) -> String {
    let shown = |url: &String| {
        let mut url = reqwest::Url::parse(url).ok()?;
        url.set_query(None);
        url.set_username("").and_then(|()| url.set_password(None)).ok()?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    };
    urls.iter().filter_map(shown).collect::<Vec<_>>().join(",")
}

/// The code of an error other than the registry's own "not found".
fn code(status: Option<u16>) -> &'static str {
    match status {
        Some(401 | 403) => ACCESS,
        Some(404) => WRONG_URL,
        Some(_) | None => "registry_unreachable",
    }
}

/// The text of a client error with its causes: the client's own text omits them ("connection refused").
fn causes(error: &SRCError) -> String {
    let mut text = error.error.clone();
    if let Some(cause) = &error.cause {
        text = format!("{text}: {cause}");
    }
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// The HTTP status of a client error, which only its text has.
fn status(error: &SRCError) -> Option<u16> {
    let (_, rest) = error.error.split_once("failed with status ")?;
    rest.get(..3)?.parse().ok()
}

fn unreachable(error: reqwest::Error) -> ServerError {
    ServerError::retryable(code(error.status().map(|status| status.as_u16())), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_of_an_error_hold_no_secret() {
        let urls = ["http://u:geheim@one:8081", "https://two/apis/ccompat/v7?key=geheim"];
        let shown = without_secrets(&urls.map(str::to_owned));
        assert_eq!(shown, "http://one:8081,https://two/apis/ccompat/v7");
    }

    #[tokio::test]
    async fn h5_an_id_larger_than_any_registry_gives_is_unknown_without_a_request() {
        let registry = Registry::new("http://127.0.0.1:1").unwrap();
        for id in [1 << 31, u32::MAX] {
            assert_eq!(registry.schema(SchemaId(id)).await.unwrap(), None);
        }
        assert!(registry.schema(SchemaId((1 << 31) - 1)).await.is_err());
    }
}
