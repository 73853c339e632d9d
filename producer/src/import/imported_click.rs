//! The click of a line of an access log.
//!
//! Pure.

use schemas::{EventId, Origin, Outcome, RawClick};

use crate::click::cut_texts;
use crate::import::access_log_line::AccessLogLine;
use crate::links::link::Link;

/// The click of a line in the access log of the server `source`, without its client.
///
/// `link` is payload only: the same line imported before its link was made has the same key.
pub fn imported_click<'a>(
    event_id: EventId,
    source: &'a str,
    line: &'a AccessLogLine<'_>,
    link: Option<&'a Link>,
) -> RawClick<'a> {
    let mut click = RawClick {
        origin: Origin::Import,
        source,
        query: line.query.as_deref(),
        link_id: link.map(Link::id),
        link_version: link.map(Link::version),
        outcome: Outcome::from_status(line.status),
        status: line.status.into(),
        method: line.method,
        domain: line.domain.as_deref(),
        scheme: line.scheme.as_deref(),
        http_version: line.http_version.as_deref(),
        accept_language: line.accept_language.as_deref(),
        dnt: line.dnt,
        gpc: line.gpc,
        user_agent: line.user_agent.as_deref(),
        referer: line.referer.as_deref(),
        ..RawClick::new(event_id, line.occurred_at, &line.slug)
    };
    cut_texts(&mut click);
    click
}
