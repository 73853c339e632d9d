//! The click of a line of an access log.
//!
//! Pure.

use schemas::{EventId, Origin, Outcome, RawClick};

use crate::click::cut_texts;
use crate::import::access_log_line::AccessLogLine;
use crate::import::site_hosts::SiteHosts;
use crate::links::link::Link;

/// The click of a line in the access log of the server `source`, without the fields of the client.
///
/// `link` is no part of the key: a line that is imported before its link exists has the same key.
/// `main_host` is the domain of a line that names no host.
pub fn imported_click<'a>(
    event_id: EventId,
    source: &'a str,
    line: &'a AccessLogLine<'_>,
    link: Option<&'a Link>,
    main_host: Option<&'a str>,
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
        domain: line.domain.as_deref().or(main_host),
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

/// Sets the domain of a line that names no host to the host of its referrer, if that is one of the site's
/// hosts: such a click is `internal`.
///
/// Call it after the visitor id is set, so that a visitor has one id on all hosts of the site.
pub fn set_inner_host<'a>(
    click: &mut RawClick<'a>,
    line: &AccessLogLine<'_>,
    hosts: &'a SiteHosts,
) {
    let is_said = line.domain.is_some();
    if let Some(host) = click.referer.filter(|_| !is_said).and_then(|it| hosts.of_referer(it)) {
        click.domain = Some(host);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn i5_a_line_without_a_host_has_one_of_the_sites_and_a_line_with_one_keeps_it() {
        let names = ["example.org", "shop.example.org"].map(|name| name.parse().unwrap());
        let hosts = SiteHosts::new(names.into());
        for (said, referer, expected) in [
            (None, None, "example.org"),
            (None, Some("https://search.example/"), "example.org"),
            (None, Some("https://www.example.org/a"), "example.org"),
            (None, Some("https://shop.example.org/a"), "shop.example.org"),
            (Some("go.example"), Some("https://shop.example.org/a"), "go.example"),
            (Some("go.example"), None, "go.example"),
        ] {
            let line = AccessLogLine {
                domain: said.map(Into::into),
                referer: referer.map(Into::into),
                ..AccessLogLine::default()
            };
            let mut click = imported_click(Uuid::nil(), "s", &line, None, hosts.main());
            set_inner_host(&mut click, &line, &hosts);
            assert_eq!(click.domain, Some(expected), "{said:?} {referer:?}");
        }
        let line = AccessLogLine::default();
        assert_eq!(imported_click(Uuid::nil(), "s", &line, None, None).domain, None);
    }
}
