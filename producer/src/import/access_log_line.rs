//! What one line of an access log says, in whatever format it says it, and why a line is no click.
//!
//! Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use schemas::{Method, Outcome};
use thiserror::Error;

/// 2000-01-01; what is older is no click of anyone (microseconds).
pub const OLDEST: i64 = 946_684_800_000_000;
/// How far a log's clock may be ahead of ours (microseconds).
pub const AHEAD_MAX: i64 = 86_400_000_000;

/// What one line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// Microseconds since 1970, UTC.
    pub occurred_at: i64,
    /// None when the server logged a host name.
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
    /// Host as requested, where it is logged.
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

/// Why a line is no click. The same line is malformed at each import (but for the future's end).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    /// Nothing in it.
    #[error("empty line")]
    Empty,
    /// Longer than a line may be.
    #[error("line too long")]
    TooLong,
    /// Not an object of JSON with texts.
    #[error("no JSON object of texts")]
    Json,
    /// No time where it should stand, or something else in its place.
    #[error("no time of the format's form")]
    Time,
    /// The request is not there or its quote is not closed.
    #[error("no request in quotes")]
    Request,
    /// No three digits after the request.
    #[error("no status")]
    Status,
    /// The referrer is not there or its quote is not closed.
    #[error("no referrer in quotes")]
    Referer,
    /// The agent is not there or its quote is not closed.
    #[error("no user agent in quotes")]
    UserAgent,
    /// Before 2000: a clock that was not set.
    #[error("time before 2000")]
    BeforeClicks,
    /// More than a day after now.
    #[error("time more than a day ahead")]
    Ahead,
}

impl Malformed {
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
/// [`Malformed::BeforeClicks`], [`Malformed::Ahead`].
pub fn check_time(occurred_at: i64, now: i64) -> Result<(), Malformed> {
    match occurred_at {
        at if at < OLDEST => Err(Malformed::BeforeClicks),
        at if at > now.saturating_add(AHEAD_MAX) => Err(Malformed::Ahead),
        _ => Ok(()),
    }
}

/// A method by its name.
pub fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => Method::Other,
    }
}

/// What the visitor got, by the status that the server logged.
pub fn outcome(status: u16) -> Outcome {
    match status {
        200..=299 | 304 => Outcome::Served,
        301 | 302 | 303 | 307 | 308 => Outcome::Redirected,
        404 => Outcome::NotFound,
        410 => Outcome::Expired,
        401 | 403 | 451 => Outcome::Blocked,
        400..=599 => Outcome::Error,
        _ => Outcome::Unknown,
    }
}

/// Path of a request's target without its leading slash, and its query: origin form, absolute form,
/// `*`, `host:port`.
pub fn target_parts(target: &str) -> Option<(&str, Option<&str>)> {
    let path = path(target)?;
    Some(path.split_once('?').map_or((path, None), |(slug, query)| (slug, Some(query))))
}

fn path(target: &str) -> Option<&str> {
    if let Some(path) = target.strip_prefix('/') {
        return Some(path);
    }
    if let Some((scheme, rest)) = target.split_once("://") {
        let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        return known.then(|| rest.split_once('/').map_or("", |(_, path)| path));
    }
    let authority = !target.is_empty()
        && target.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'[' | b']')
        });
    (target == "*" || authority).then_some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_the_outcome() {
        for (status, expected) in [
            (200, Outcome::Served),
            (206, Outcome::Served),
            (304, Outcome::Served),
            (301, Outcome::Redirected),
            (308, Outcome::Redirected),
            (404, Outcome::NotFound),
            (410, Outcome::Expired),
            (403, Outcome::Blocked),
            (416, Outcome::Error),
            (499, Outcome::Error),
            (503, Outcome::Error),
            (0, Outcome::Unknown),
            (101, Outcome::Unknown),
            (300, Outcome::Unknown),
        ] {
            assert_eq!(outcome(status), expected, "{status}");
        }
    }
}
