//! Why a request to the collector is refused as a whole; nothing of it was taken.
//!
//! Pure. Two refusals are less sure: after `not_durable` and `outbox_disk` some clicks may be
//! delivered all the same, so a sender that must count right brings its own event ids.

use hyper::StatusCode;
use thiserror::Error;

use crate::outbox::offer::Loss;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no collector here.
    #[error("the collector is off: no token is set")]
    Off,
    /// No token, or a wrong one.
    #[error("send Authorization: Bearer and the token")]
    Unauthorized,
    /// Neither JSON nor lines of it.
    #[error("send Content-Type: application/json or application/x-ndjson")]
    ContentType,
    /// Packed by something else than gzip.
    #[error("send the body plain or with Content-Encoding: gzip")]
    Encoding,
    /// More bytes than are taken.
    #[error("the body is larger than is taken (--body-bytes)")]
    BodyTooLarge,
    /// More records than are taken.
    #[error("the body has more records than are taken (--body-records)")]
    TooManyRecords,
    /// It did not come in time.
    #[error("the body did not come in time (--body-seconds)")]
    BodyTooSlow,
    /// The connection broke.
    #[error("the body ends too soon")]
    BodyCut,
    /// It cannot be unpacked.
    #[error("the body is not what gzip makes")]
    Gzip,
    /// Not an array of JSON.
    #[error("the body is no JSON")]
    BodyMalformed,
    /// Too many requests at once.
    #[error("too many requests at once; try again")]
    Busy,
    /// The outbox does not take the clicks.
    #[error("clicks cannot be stored ({}); try again", .0.code())]
    Outbox(Loss),
    /// The disk took too long.
    #[error("the disk takes too long to make the clicks durable; try again")]
    NotDurable,
    /// A bug of ours.
    #[error("a broken promise of our own")]
    Internal,
}

impl Refusal {
    /// Stable name: in the answer, metric label, heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::Off => "collector_off",
            Self::Unauthorized => "unauthorized",
            Self::ContentType => "content_type",
            Self::Encoding => "content_encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyRecords => "too_many_records",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyCut => "body_cut",
            Self::Gzip => "gzip",
            Self::BodyMalformed => "body_malformed",
            Self::Busy => "collector_busy",
            Self::Outbox(loss) => loss.code(),
            Self::NotDurable => "not_durable",
            Self::Internal => "internal",
        }
    }

    /// What it is in HTTP.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Off => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ContentType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge | Self::TooManyRecords => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyCut | Self::Gzip | Self::BodyMalformed => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Outbox(_) | Self::NotDurable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
