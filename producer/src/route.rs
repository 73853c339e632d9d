//! The kinds of paths on the public port: the base, a reserved path, or a slug.
//!
//! Pure. This file has the only list of reserved paths: no link may have one of them, and a click
//! records a request for one as such.

use std::borrow::Cow;

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Base,
    /// `/robots.txt`
    Robots,
    /// `/favicon.ico`
    Favicon,
    /// A path that no link may have.
    Reserved,
    /// A path that may be a link, without its leading slash.
    Slug(&'a str),
}

/// First segments that no slug of a link may have. Health and metrics are on the admin port; the others
/// are reserved for later versions, and for paths that browsers and operators expect on a host.
const RESERVED: &[&str] =
    &[".well-known", "_", "admin", "api", "healthz", "livez", "metrics", "readyz", "static", "v1"];

/// The kind of `path`, as requested, with its leading slash.
pub fn route(path: &str) -> Route<'_> {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => Route::Base,
        "robots.txt" => Route::Robots,
        "favicon.ico" => Route::Favicon,
        slug if is_reserved(slug) => Route::Reserved,
        slug if slug.contains('%') && is_reserved(&canonical(slug)) => Route::Reserved,
        slug => Route::Slug(slug),
    }
}

/// The canonical spelling of a requested slug, which a link may have: without escapes of characters that
/// need none (RFC 3986, 6.2.2.2), and without slashes at either end. Borrowed if there is no `%`.
pub fn canonical(slug: &str) -> Cow<'_, str> {
    let slug = slug.trim_matches('/');
    let mut pieces = slug.split('%');
    let first = pieces.next().unwrap_or_default();
    if first.len() == slug.len() {
        return Cow::Borrowed(slug);
    }
    let mut written = String::with_capacity(slug.len());
    written.push_str(first);
    for piece in pieces {
        match unreserved(piece) {
            Some(character) => {
                written.push(character);
                written.push_str(&piece[2..]);
            }
            None => {
                written.push('%');
                written.push_str(piece);
            }
        }
    }
    Cow::Owned(written)
}

/// The character that the two hex digits at the start of `escape` encode, if it needs no escape.
fn unreserved(escape: &str) -> Option<char> {
    let digits = escape.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let character = char::from(u8::from_str_radix(digits, 16).ok()?);
    (character.is_ascii_alphanumeric() || "-._~".contains(character)).then_some(character)
}

/// Whether this slug is reserved.
pub fn is_reserved(slug: &str) -> bool {
    let first = slug.split('/').next().unwrap_or(slug);
    matches!(slug, "robots.txt" | "favicon.ico") || RESERVED.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_paths_are_never_slugs() {
        for (path, expected) in [
            ("/", Route::Base),
            ("", Route::Base),
            ("/robots.txt", Route::Robots),
            ("/favicon.ico", Route::Favicon),
            ("/.well-known/security.txt", Route::Reserved),
            ("/livez", Route::Reserved),
            ("/v1/clicks", Route::Reserved),
            ("/livezzz", Route::Slug("livezzz")),
            ("/a/robots.txt", Route::Slug("a/robots.txt")),
            ("//", Route::Slug("/")),
            ("/%61dmin", Route::Reserved),
            ("/%76%31/clicks", Route::Reserved),
            ("/%61dmins", Route::Slug("%61dmins")),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn f12_escapes_of_characters_that_need_none_are_decoded_once_and_no_others() {
        for byte in 0..=255_u8 {
            let character = char::from(byte);
            let needs_none = character.is_ascii_alphanumeric() || "-._~".contains(character);
            for escape in [format!("%{byte:02X}"), format!("%{byte:02x}")] {
                let spelled = format!("a{escape}b");
                let expected = format!("a{character}b");
                let expected = if needs_none { &expected } else { &spelled };
                assert_eq!(canonical(&spelled), *expected);
            }
        }
        for (slug, expected) in [
            ("%257E", "%257E"),
            ("%7", "%7"),
            ("%", "%"),
            ("%7\u{fc}", "%7\u{fc}"),
            ("%+7", "%+7"),
            ("/a//b/", "a//b"),
            ("%61%2F%62/", "a%2Fb"),
            ("", ""),
        ] {
            assert_eq!(canonical(slug), expected, "{slug}");
        }
        assert!(matches!(canonical("a/b"), Cow::Borrowed("a/b")));
    }
}
