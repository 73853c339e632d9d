//! The click of a request that this host answered.
//!
//! Pure.

use hyper::StatusCode;
use schemas::{Origin, Outcome, RawClick};

use crate::click::{ClickKey, cut_texts};
use crate::links::link::Link;
use crate::redirect::request_facts::RequestFacts;

/// The answer to a visitor, as a click records it.
#[derive(Debug, Clone, Copy)]
pub struct RedirectAnswer<'a> {
    /// Kind of the answer.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    pub status: StatusCode,
    /// The link of the requested slug, in any state.
    pub link: Option<&'a Link>,
    /// Target of the redirect.
    pub target: Option<&'a str>,
}

/// The click of a request that the node `source` answered, without the fields of the client.
pub fn answered_click<'a>(
    key: ClickKey,
    source: &'a str,
    facts: &'a RequestFacts<'_>,
    answer: RedirectAnswer<'a>,
    latency_us: i32,
) -> RawClick<'a> {
    let headers = &facts.headers;
    let mut click = RawClick {
        origin: Origin::Redirect,
        source,
        domain: facts.domain.as_deref(),
        query: facts.query,
        link_id: answer.link.map(Link::id),
        link_version: answer.link.map(Link::version),
        outcome: answer.outcome,
        status: answer.status.as_u16().into(),
        target_url: answer.target,
        method: facts.method,
        http_version: facts.http_version,
        user_agent: headers.user_agent.as_deref(),
        referer: headers.referer.as_deref(),
        accept_language: headers.accept_language.as_deref(),
        purpose: headers.purpose.as_deref(),
        sec_fetch_site: headers.sec_fetch_site.as_deref(),
        sec_fetch_mode: headers.sec_fetch_mode.as_deref(),
        sec_fetch_dest: headers.sec_fetch_dest.as_deref(),
        sec_ch_ua: headers.sec_ch_ua.as_deref(),
        sec_ch_ua_mobile: headers.sec_ch_ua_mobile.as_deref(),
        sec_ch_ua_platform: headers.sec_ch_ua_platform.as_deref(),
        x_requested_with: headers.x_requested_with.as_deref(),
        dnt: headers.dnt,
        gpc: headers.gpc,
        latency_us: Some(latency_us),
        ..RawClick::new(key.event_id, key.occurred_at, facts.slug)
    };
    cut_texts(&mut click);
    click
}

#[cfg(test)]
mod tests {
    use hyper::http;

    use super::*;
    use crate::click::cut_unredirected;

    #[test]
    fn m1_a_click_that_is_no_redirect_has_at_most_2_kib_whatever_was_sent() {
        let long = "x".repeat(16_000);
        let mut request = http::Request::builder().uri(format!("/{long}?{long}"));
        for name in [
            "host",
            "user-agent",
            "referer",
            "accept-language",
            "purpose",
            "sec-fetch-site",
            "sec-fetch-mode",
            "sec-fetch-dest",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "x-requested-with",
        ] {
            request = request.header(name, &long);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let facts = RequestFacts::read(&head, "2001:db8::1".parse().unwrap());
        let source = "s".repeat(256);
        let bytes = |outcome| {
            let answer =
                RedirectAnswer { outcome, status: StatusCode::OK, link: None, target: None };
            let key = ClickKey::mint(1 << 50, &[7; 16]);
            let mut datum = Vec::new();
            let mut click = answered_click(key, &source, &facts, answer, 1);
            if outcome != Outcome::Redirected {
                cut_unredirected(&mut click);
            }
            click.write_datum(&mut datum).unwrap();
            datum.len()
        };
        for outcome in [
            Outcome::NotFound,
            Outcome::Disabled,
            Outcome::Expired,
            Outcome::Blocked,
            Outcome::BaseUrl,
            Outcome::Reserved,
            Outcome::Error,
        ] {
            assert!(bytes(outcome) <= 2_048, "{outcome:?}: {}", bytes(outcome));
        }
        // A redirect keeps what the contract allows, and no more.
        assert!((12_288..18_432).contains(&bytes(Outcome::Redirected)));
    }
}
