//! The target of a link, which is checked when it is entered, and again at each redirect. It must not lead
//! to the link itself, or to a reserved path of the link's own host.
//!
//! Pure. A target that passes is in the form of the URL standard, and safe to send in a header.

use hyper::header::HeaderValue;
use thiserror::Error;
use url::Url;

use crate::route::{Route, canonical, route};

/// Longest target, after its escaping.
pub const TARGET_BYTES_MAX: usize = 2048;

/// Why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("url {url:?}: {why}")]
pub struct TargetError {
    url: String,
    why: &'static str,
}

/// Checks the target of the link of `domain` (empty for any) and `slug`. Returns it in the form of the URL
/// standard (punycode, escapes).
///
/// # Errors
/// [`TargetError`] with the cause.
pub fn check(given: &str, domain: &str, slug: &str) -> Result<String, TargetError> {
    let error = |why| TargetError { url: given.to_owned(), why };
    // The URL parser silently drops line ends, so the target would differ from the entered text.
    if given.chars().any(char::is_control) {
        return Err(error("has a control character"));
    }
    let url = Url::parse(given).map_err(|_| error("is not an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(error("only http and https are allowed"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error("a user name or password is not allowed"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(error("has no host"));
    }
    let text = String::from(url);
    if text.len() > TARGET_BYTES_MAX {
        return Err(error("is longer than 2048 bytes"));
    }
    if HeaderValue::from_str(&text).is_err() {
        return Err(error("does not fit into a header"));
    }
    if !domain.is_empty() && is_reserved_of(&text, domain) {
        return Err(error("leads to a reserved path of the link's own domain"));
    }
    if !domain.is_empty() && slug_on(&text, domain, None).is_some_and(|own| canonical(own) == slug)
    {
        return Err(error("leads to the link itself"));
    }
    Ok(text)
}

/// The header `Location` for a visitor of `domain`. `None` if the target must not be followed: it is
/// neither http nor https, or leads to a reserved path of the requested host. `query` is appended to the
/// query of the target.
pub fn location(target: &str, domain: Option<&str>, query: Option<&str>) -> Option<HeaderValue> {
    if !target.starts_with("https://") && !target.starts_with("http://") {
        return None;
    }
    if domain.is_some_and(|domain| is_reserved_of(target, domain)) {
        return None;
    }
    match query.filter(|query| !query.is_empty()) {
        None => HeaderValue::from_str(target).ok(),
        Some(query) => HeaderValue::from_str(&appended(target, query)).ok(),
    }
}

fn appended(target: &str, query: &str) -> String {
    let (before, fragment) = target.split_at(target.find('#').unwrap_or(target.len()));
    let between = match before.rsplit_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, own)) if own.ends_with('&') => "",
        Some(_) => "&",
    };
    [before, between, query, fragment].concat()
}

/// The slug of a checked target on the requested host and port. `None` if it leads to another host, to
/// another port, or to a reserved path.
pub fn slug_on<'a>(target: &'a str, domain: &str, port: Option<u16>) -> Option<&'a str> {
    let on = on_host(target, domain)?;
    if on.port.is_some() && on.port != port {
        return None;
    }
    match route(on.path) {
        Route::Slug(slug) => Some(slug),
        Route::Base | Route::Robots | Route::Favicon | Route::Reserved => None,
    }
}

/// Whether a checked target is a reserved path of this host.
fn is_reserved_of(target: &str, domain: &str) -> bool {
    match on_host(target, domain).map(|on| route(on.path)) {
        Some(Route::Robots | Route::Favicon | Route::Reserved) => true,
        Some(Route::Base | Route::Slug(_)) | None => false,
    }
}

/// The place of a checked target on one host.
struct OnHost<'a> {
    /// `None` for the port of the scheme, which a checked target does not contain.
    port: Option<u16>,
    path: &'a str,
}

/// `None` if the target leads to another host. A checked target has no user name, and its host is in lower
/// case, so that one comparison decides for most targets.
fn on_host<'a>(target: &'a str, domain: &str) -> Option<OnHost<'a>> {
    let rest = target.strip_prefix("https://").or_else(|| target.strip_prefix("http://"))?;
    let rest = rest.strip_prefix(domain)?;
    let (port, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let port = match port.trim_start_matches('.') {
        "" => None,
        port => port.strip_prefix(':')?.parse().ok(),
    };
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    Some(OnHost { port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_leads_to_a_reserved_path_of_the_requested_host() {
        for (target, domain, leads) in [
            ("https://go.example/admin", Some("go.example"), false),
            ("https://go.example:8443/livez?x", Some("go.example"), false),
            ("http://go.example./robots.txt", Some("go.example"), false),
            ("https://go.example/a/../metrics", Some("go.example"), false),
            ("https://go.example/other", Some("go.example"), true),
            ("https://go.example/admin", Some("other.example"), true),
            ("https://go.example.other/admin", Some("go.example"), true),
            ("https://go.examples/admin", Some("go.example"), true),
            ("https://go.example/admin", None, true),
            ("http://[::1]:80/admin", Some("[::1]"), false),
        ] {
            let written = check(target, "", "a").unwrap();
            assert_eq!(location(&written, domain, None).is_some(), leads, "{target} {domain:?}");
            let own = check(target, domain.unwrap_or_default(), "a");
            assert_eq!(own.is_ok(), leads, "{target} {domain:?}");
        }
    }

    #[test]
    fn f13_x5_a_link_to_itself_is_refused_however_it_is_written() {
        let mut tried = 0;
        for slug in ["own", "a/b", "x~y", "spring-sale"] {
            let mut spellings = vec![
                slug.to_owned(),
                format!("{slug}/"),
                format!("/{slug}"),
                format!("{slug}?a=1#b"),
            ];
            for (at, character) in slug.char_indices().filter(|(_, it)| *it != '/') {
                let (before, after) = (&slug[..at], &slug[at + 1..]);
                spellings.push(format!("{before}%{:02x}{after}", u32::from(character)));
            }
            for spelling in spellings {
                for host in ["https://own.example", "http://OWN.example.:80"] {
                    let target = format!("{host}/{spelling}");
                    let error = check(&target, "own.example", slug).unwrap_err().to_string();
                    assert!(error.ends_with("leads to the link itself"), "{error}");
                    for (domain, slug) in
                        [("other.example", slug), ("own.example", "other"), ("", slug)]
                    {
                        assert!(check(&target, domain, slug).is_ok(), "{target} {domain} {slug}");
                    }
                    tried += 1;
                }
            }
        }
        assert!(tried >= 50, "{tried}");
        assert!(check("https://own.example/", "own.example", "own").is_ok());
        // Another service may answer on another port; only a request shows whether it is this one.
        assert!(check("https://own.example:8443/own", "own.example", "own").is_ok());
    }

    #[test]
    fn f13_a_target_on_another_port_than_the_requested_one_is_another_service() {
        for (target, port, is_own) in [
            ("https://own.example/a", None, true),
            ("https://own.example/a", Some(8080), true),
            ("https://own.example:8443/a", Some(8443), true),
            ("https://own.example:8443/a", Some(8080), false),
            ("https://own.example:8443/a", None, false),
            ("http://[::1]:8080/a", Some(8080), true),
            ("http://[::1]:8080/a", Some(80), false),
            ("http://[::1]/a", Some(80), true),
        ] {
            let domain = if target.contains('[') { "[::1]" } else { "own.example" };
            let slug = slug_on(target, domain, port);
            assert_eq!(slug, is_own.then_some("a"), "{target} {port:?}");
        }
    }

    #[test]
    fn x9_a_target_keeps_its_escapes_and_a_visitors_query_is_before_its_fragment() {
        for (given, written) in [
            (
                "https://x.example/a%2Fb?c=%2520&d=%5B0%5D",
                "https://x.example/a%2Fb?c=%2520&d=%5B0%5D",
            ),
            (
                "https://b\u{fc}cher.example/\u{fc}#\u{fc}",
                "https://xn--bcher-kva.example/%C3%BC#%C3%BC",
            ),
        ] {
            assert_eq!(check(given, "", "a").unwrap(), written);
        }
        let sent = location("https://x.example/?b=2#part", None, Some("a=%20")).unwrap();
        assert_eq!(sent, "https://x.example/?b=2&a=%20#part");
    }

    #[test]
    fn x10_a_target_that_is_no_plain_address_is_refused_or_made_harmless() {
        for target in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example/",
            "https://bank.example@evil.example/",
            "https://x.example/\r\nSet-Cookie: a=b",
            "https:///",
        ] {
            assert!(check(target, "", "a").is_err(), "{target}");
        }
        for (given, written) in [
            ("https:/\\evil.example/", "https://evil.example/"),
            (
                "https://x.example/%0d%0aSet-Cookie:%20a=b",
                "https://x.example/%0d%0aSet-Cookie:%20a=b",
            ),
        ] {
            assert_eq!(check(given, "", "a").unwrap(), written);
        }
    }

    #[test]
    fn only_http_and_https_are_followed_whatever_the_table_holds() {
        for target in ["javascript:alert(1)", "ftp://x/", "//x/", "", "https://x/\r\na: b"] {
            assert_eq!(location(target, None, None), None, "{target}");
        }
    }

    #[test]
    fn a_query_is_appended_to_that_of_the_target_and_changes_nothing_before_it() {
        for (target, query, expected) in [
            ("https://x/", Some("a=1"), "https://x/?a=1"),
            ("https://x/?b=2", Some("a=1"), "https://x/?b=2&a=1"),
            ("https://x/?", Some("a=1"), "https://x/?a=1"),
            ("https://x/?b&", Some("a=1"), "https://x/?b&a=1"),
            ("https://x/?b#f?g", Some("u=//evil/"), "https://x/?b&u=//evil/#f?g"),
            ("https://x/#f", Some(""), "https://x/#f"),
            ("https://x/", None, "https://x/"),
        ] {
            assert_eq!(location(target, None, query).unwrap(), expected);
        }
    }
}
