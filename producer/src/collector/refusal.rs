//! Why the collector refuses a whole request, and stores no click of it.
//!
//! Pure. Two refusals are exceptions: after `not_durable` and `outbox_disk` some clicks may still be
//! delivered, so a sender that must not count twice must send its own event ids.

use hyper::StatusCode;
use thiserror::Error;

use crate::outbox::offer::Loss;

/// Why the collector refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The collector is off.
    #[error("the collector is off: no token is set")]
    Off,
    /// No token, or a wrong one.
    #[error("send the header Authorization: Bearer TOKEN")]
    Unauthorized,
    /// Neither JSON nor JSON lines.
    #[error("send Content-Type: application/json or application/x-ndjson")]
    ContentType,
    /// Another compression than gzip.
    #[error("send the body uncompressed or with Content-Encoding: gzip")]
    Encoding,
    /// More bytes than the limit.
    #[error("the body is larger than the limit (--body-bytes)")]
    BodyTooLarge,
    /// More records than the limit.
    #[error("the body has more records than the limit (--body-records)")]
    TooManyRecords,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time (--body-seconds)")]
    BodyTooSlow,
    /// The connection broke.
    #[error("the body is incomplete")]
    BodyCut,
    /// The body cannot be decompressed.
    #[error("the body is not valid gzip, or has more than 1,024 members")]
    Gzip,
    /// The body is not valid JSON.
    #[error("the body is not valid JSON")]
    BodyMalformed,
    /// Too many requests at once.
    #[error("too many requests at once; try again")]
    Busy,
    /// The outbox does not accept the clicks.
    #[error("the clicks cannot be stored ({}); try again", .0.code())]
    Outbox(Loss),
    /// The disk took too long.
    #[error("the disk takes too long to make the clicks durable; try again")]
    NotDurable,
    /// A bug of this program.
    #[error("internal error")]
    Internal,
}

impl Refusal {
    /// Stable name: in the answer, metric label, heading in docs/collector.md.
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

    /// The HTTP status of the answer.
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
