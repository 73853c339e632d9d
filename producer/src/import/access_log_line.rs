//! The facts that one line of an access log records, in any format, and why a line is malformed.
//!
//! Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use schemas::Method;
use schemas::bounds::{OutOfBounds, check_occurred_at};
use thiserror::Error;

/// The facts of one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogLine<'a> {
    /// Microseconds since 1970, UTC.
    pub occurred_at: i64,
    /// `None` if the server logged no address.
    pub client_ip: Option<IpAddr>,
    /// `OTHER` also for a request that is not HTTP.
    pub method: Method,
    /// Path without the leading slash; empty for a request that is not HTTP.
    pub slug: Cow<'a, str>,
    /// The part after the question mark.
    pub query: Option<Cow<'a, str>>,
    /// Such as `HTTP/1.1`.
    pub http_version: Option<Cow<'a, str>>,
    /// 0 if it is not logged.
    pub status: u16,
    /// `Referer`.
    pub referer: Option<Cow<'a, str>>,
    /// `User-Agent`.
    pub user_agent: Option<Cow<'a, str>>,
    /// The requested host as a domain, if it is logged.
    pub domain: Option<Cow<'a, str>>,
    /// `http` or `https`, if it is logged.
    pub scheme: Option<Cow<'a, str>>,
    /// `Accept-Language`, if it is logged.
    pub accept_language: Option<Cow<'a, str>>,
    /// Whether `DNT: 1` is logged.
    pub dnt: bool,
    /// Whether `Sec-GPC: 1` is logged.
    pub gpc: bool,
}

/// Why a line cannot become a click. The same line is malformed at each import, except that a time in the
/// future becomes valid later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum MalformedLine {
    /// It is empty.
    #[error("the line is empty")]
    Empty,
    /// It is longer than a line may be.
    #[error("the line is too long")]
    TooLong,
    /// It is no JSON object of texts.
    #[error("not a JSON object of texts")]
    Json,
    /// The time is missing or malformed.
    #[error("the time is missing or has another format")]
    Time,
    /// The request is missing, or its quote is not closed.
    #[error("the quoted request is missing")]
    Request,
    /// There are no three digits after the request.
    #[error("the status is missing")]
    Status,
    /// The referrer is missing, or its quote is not closed.
    #[error("the quoted referrer is missing")]
    Referer,
    /// The agent is missing, or its quote is not closed.
    #[error("the quoted user agent is missing")]
    UserAgent,
    /// The time is before 2000: the clock was not set.
    #[error("the time is before 2000")]
    BeforeClicks,
    /// The time is more than a day ahead.
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

/// Checks the time of a click; `now` is microseconds since 1970.
///
/// # Errors
/// [`MalformedLine::BeforeClicks`], [`MalformedLine::Ahead`].
pub fn check_time(occurred_at: i64, now: i64) -> Result<(), MalformedLine> {
    check_occurred_at(occurred_at, now).map_err(|bound| match bound {
        OutOfBounds::TooOld => MalformedLine::BeforeClicks,
        OutOfBounds::TooFarAhead => MalformedLine::Ahead,
    })
}
