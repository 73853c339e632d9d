//! What one line of an access log records, in any format, and why a line is malformed.
//!
//! Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use schemas::Method;
use schemas::bounds::{OutOfBounds, check_occurred_at};
use thiserror::Error;

/// What one line records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogLine<'a> {
    /// Microseconds since 1970, UTC.
    pub occurred_at: i64,
    /// None when the server logged no address.
    pub client_ip: Option<IpAddr>,
    /// OTHER also for what is not HTTP.
    pub method: Method,
    /// Path without the leading slash; empty for what is not HTTP.
    pub slug: Cow<'a, str>,
    /// What follows the question mark.
    pub query: Option<Cow<'a, str>>,
    /// Such as `HTTP/1.1`.
    pub http_version: Option<Cow<'a, str>>,
    /// 0 when not logged.
    pub status: u16,
    /// `Referer`.
    pub referer: Option<Cow<'a, str>>,
    /// `User-Agent`.
    pub user_agent: Option<Cow<'a, str>>,
    /// Host as requested, in the form of a domain, where it is logged.
    pub domain: Option<Cow<'a, str>>,
    /// `http` or `https`, where it is logged.
    pub scheme: Option<Cow<'a, str>>,
    /// `Accept-Language`, where it is logged.
    pub accept_language: Option<Cow<'a, str>>,
    /// `DNT: 1` is logged.
    pub dnt: bool,
    /// `Sec-GPC: 1` is logged.
    pub gpc: bool,
}

/// Why a line cannot become a click. The same line is malformed at each import, except that a time
/// ahead becomes valid when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum MalformedLine {
    /// It is empty.
    #[error("the line is empty")]
    Empty,
    /// Longer than a line may be.
    #[error("the line is too long")]
    TooLong,
    /// Not an object of JSON with texts.
    #[error("not a JSON object of texts")]
    Json,
    /// The time is missing or malformed.
    #[error("the time is missing or has another format")]
    Time,
    /// The request is not there or its quote is not closed.
    #[error("the quoted request is missing")]
    Request,
    /// No three digits after the request.
    #[error("the status is missing")]
    Status,
    /// The referrer is not there or its quote is not closed.
    #[error("the quoted referrer is missing")]
    Referer,
    /// The agent is not there or its quote is not closed.
    #[error("the quoted user agent is missing")]
    UserAgent,
    /// Before 2000: a clock that was not set.
    #[error("the time is before 2000")]
    BeforeClicks,
    /// More than a day after now.
    #[error("the time is more than a day ahead")]
    Ahead,
}

impl MalformedLine {
    /// Stable name for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::Json => "json",
            Self::Time => "time",
            Self::Request => "request",
            Self::Status => "status",
            Self::Referer => "referer",
            Self::UserAgent => "user_agent",
            Self::BeforeClicks => "before_clicks",
            Self::Ahead => "ahead",
        }
    }
}

/// Whether a click may have happened then; `now` is microseconds since 1970.
///
/// # Errors
/// [`MalformedLine::BeforeClicks`], [`MalformedLine::Ahead`].
pub fn check_time(occurred_at: i64, now: i64) -> Result<(), MalformedLine> {
    check_occurred_at(occurred_at, now).map_err(|bound| match bound {
        OutOfBounds::TooOld => MalformedLine::BeforeClicks,
        OutOfBounds::TooFarAhead => MalformedLine::Ahead,
    })
}
