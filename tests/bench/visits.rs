//! The requests of the generated clicks, as a trusted proxy forwards them, and the links that they name.

use std::collections::HashSet;
use std::fmt::Write as _;

use harness::loader::Heads;
use schemas::{Outcome, RawClick};

use super::clicks::Clicks;

/// The heads of `count` redirects: up to twelve headers each, like those of browsers and machines.
pub fn heads(count: usize) -> Heads {
    let (mut clicks, mut heads, mut made) = (Clicks::new(count as u64 * 2), Heads::default(), 0);
    let mut text = String::new();
    while made < count {
        let click = clicks.next();
        // The load generator takes every other answer for a fault.
        if click.outcome == Outcome::Redirected {
            text.clear();
            head(&click, &mut text);
            heads.push(text.as_bytes());
            made += 1;
        }
    }
    heads
}

fn head(click: &RawClick<'_>, text: &mut String) {
    let query = click.query.map(|query| format!("?{query}")).unwrap_or_default();
    let host = click.domain.unwrap_or_default();
    text.extend(["GET /", click.slug, &query, " HTTP/1.1\r\nHost: ", host, "\r\nAccept: */*\r\n"]);
    for (name, value) in [
        ("User-Agent", click.user_agent),
        ("Referer", click.referer),
        ("Accept-Language", click.accept_language),
        ("Sec-Fetch-Site", click.sec_fetch_site),
        ("Sec-Fetch-Mode", click.sec_fetch_mode),
        ("Sec-Fetch-Dest", click.sec_fetch_dest),
        ("Sec-CH-UA", click.sec_ch_ua),
        ("Sec-CH-UA-Mobile", click.sec_ch_ua_mobile),
        ("Sec-CH-UA-Platform", click.sec_ch_ua_platform),
    ] {
        if let Some(value) = value {
            text.extend([name, ": ", value, "\r\n"]);
        }
    }
    let address: Vec<_> = click.client_ip.into_iter().flatten().map(u8::to_string).collect();
    text.extend(["X-Forwarded-For: ", &address.join("."), "\r\n\r\n"]);
}

/// The links of the generated clicks, as JSON lines.
pub fn links() -> String {
    let (clicks, mut known, mut text) = (Clicks::new(1), HashSet::new(), String::new());
    for link in clicks.links().filter(|link| known.insert(link.id.as_str())) {
        let line = serde_json::json!({
            "slug": link.slug, "url": link.target, "domain": link.domain, "id": link.id
        });
        writeln!(text, "{line}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_the_headers_of_its_click() {
        let agent = "Mozilla/5.0 (X11; Linux x86_64)";
        let click = RawClick {
            domain: Some("go.example"),
            query: Some("utm_source=x"),
            client_ip: Some(&[203, 0, 113, 7]),
            user_agent: Some(agent),
            ..RawClick::new(uuid::Uuid::nil(), 0, "spring")
        };
        let mut text = String::new();
        head(&click, &mut text);
        let expected = format!(
            "GET /spring?utm_source=x HTTP/1.1\r\nHost: go.example\r\nAccept: */*\r\n\
             User-Agent: {agent}\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn every_link_of_the_file_is_there_once() {
        let text = links();
        let ids: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].to_string())
            .collect();
        let distinct: HashSet<_> = ids.iter().collect();
        assert!(ids.len() > 4_900 && distinct.len() == ids.len(), "{} links", ids.len());
    }
}
