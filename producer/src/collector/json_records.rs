//! The JSON objects of a body, each parsed by itself.
//!
//! Pure.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use schemas::JsonClick;

use crate::collector::refusal::Refusal;

const NOT_AN_OBJECT: &str = "not an object";

/// How a body holds its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// One object, or an array of objects.
    Json,
    /// An object a line.
    JsonLines,
}

impl BodyFormat {
    /// The format that the headers name.
    ///
    /// # Errors
    /// [`Refusal::ContentType`].
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Ok(Self::JsonLines)
            }
            _ => Err(Refusal::ContentType),
        }
    }

    /// The records of a body; each that is malformed is the text of its error.
    ///
    /// # Errors
    /// [`Refusal::BodyMalformed`], [`Refusal::TooManyRecords`].
    pub(super) fn records(
        self,
        body: &[u8],
        records_max: usize,
    ) -> Result<Vec<Result<JsonClick, String>>, Refusal> {
        let body = body.trim_ascii();
        let records: Vec<_> = match self {
            Self::Json if body.starts_with(b"[") => {
                let values: Vec<serde_json::Value> =
                    serde_json::from_slice(body).map_err(|_| Refusal::BodyMalformed)?;
                values.into_iter().map(from_value).collect()
            }
            Self::Json => vec![from_text(body)],
            Self::JsonLines => {
                let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                let lines = lines.filter(|line| !line.is_empty());
                // One more than allowed shows that there are too many; the rest is not parsed.
                let lines = lines.take(records_max.saturating_add(1));
                lines.map(from_text).collect()
            }
        };
        if records.len() > records_max {
            return Err(Refusal::TooManyRecords);
        }
        Ok(records)
    }
}

fn from_value(value: serde_json::Value) -> Result<JsonClick, String> {
    if !value.is_object() {
        return Err(NOT_AN_OBJECT.to_owned());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn from_text(text: &[u8]) -> Result<JsonClick, String> {
    // An array would be read as the fields in their order.
    if !text.starts_with(b"{") {
        return Err(NOT_AN_OBJECT.to_owned());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}
