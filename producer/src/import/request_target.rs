//! The parts of the target of a logged request.
//!
//! Pure. They are the parts that a live request would have: with the host of an absolute form, and without
//! a fragment.

/// Host, path and query of a target, still escaped as in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// Host and port; only a target in absolute form has one.
    pub host: Option<&'a str>,
    /// Path without the leading slash.
    pub slug: &'a str,
    /// The part after the question mark.
    pub query: Option<&'a str>,
}

impl<'a> RequestTarget<'a> {
    /// Reads origin form, absolute form, `*`, and `host:port`; `None` for other texts.
    pub fn read(target: &'a str) -> Option<Self> {
        let target = target.split_once('#').map_or(target, |(target, _)| target);
        if let Some(path) = target.strip_prefix('/') {
            return Some(Self::of_path(path));
        }
        if let Some((scheme, rest)) = target.split_once("://") {
            let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let parts = Self::of_path(path.strip_prefix('/').unwrap_or(path));
            return known.then_some(Self { host: Some(host), ..parts });
        }
        let is_authority = !target.is_empty()
            && target.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'[' | b']')
            });
        (target == "*" || is_authority).then(Self::default)
    }

    fn of_path(path: &'a str) -> Self {
        let (slug, query) =
            path.split_once('?').map_or((path, None), |(it, query)| (it, Some(query)));
        Self { host: None, slug, query }
    }
}

#[cfg(test)]
mod tests {
    use hyper::http::Uri;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn i15_a_target_has_the_parts_of_a_live_request() {
        for (target, host, slug, query) in [
            ("/", None, "", None),
            ("/a/b?x=1?y", None, "a/b", Some("x=1?y")),
            ("/?", None, "", Some("")),
            ("//a", None, "/a", None),
            ("/x#frag", None, "x", None),
            ("/x?q#frag?y", None, "x", Some("q")),
            ("http://go.example?u=a/b", Some("go.example"), "", Some("u=a/b")),
            ("http://go.example/i16a", Some("go.example"), "i16a", None),
            (
                "HTTPS://Go.Example:8443/a?u=http://x/#f",
                Some("Go.Example:8443"),
                "a",
                Some("u=http://x/"),
            ),
            ("http://go.example#f", Some("go.example"), "", None),
            ("http://user:p@go.example/", Some("go.example"), "", None),
            ("http://[2001:db8::1]:80/a", Some("[2001:db8::1]:80"), "a", None),
            ("*", None, "", None),
            ("go.example:443", None, "", None),
        ] {
            let expected = RequestTarget { host, slug, query };
            assert_eq!(RequestTarget::read(target), Some(expected), "{target}");
        }
        for target in ["", "#", "ftp://x/a", "a b", "\\x16\\x03", "?a", "{}"] {
            assert_eq!(RequestTarget::read(target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn f20_a_target_is_split_as_the_http_parser_splits_a_live_one(
            origin in prop_oneof![
                Just(String::new()),
                "(http|https|HTTP)://[A-Za-z0-9.-]{1,20}[a-z](:[0-9]{1,4})?",
            ],
            path in "(/[A-Za-z0-9%._~/-]{0,20})?",
            query in "(\\?[A-Za-z0-9=&/:?.-]{0,20})?",
            fragment in "(#[a-z/?]{0,9})?",
        ) {
            let path = if origin.is_empty() && path.is_empty() { "/".to_owned() } else { path };
            let target = format!("{origin}{path}{query}{fragment}");
            let live: Uri = target.parse().unwrap();
            let read = RequestTarget::read(&target).unwrap();
            prop_assert_eq!(read.host, live.authority().map(|it| it.as_str()), "{}", target);
            prop_assert_eq!(read.slug, live.path().strip_prefix('/').unwrap_or(live.path()));
            prop_assert_eq!(read.query, live.query(), "{}", target);
        }

        #[test]
        fn f20_any_target_is_read_without_a_panic(target: String) {
            let read = RequestTarget::read(&target);
            prop_assert!(read.is_none_or(|read| target.contains(read.slug)));
        }
    }
}
