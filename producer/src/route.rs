//! What a path of the public port is: the base, a reserved path, or a slug.
//!
//! Pure, and the only list of reserved paths: links may not take them, and
//! requests for them are recorded as such.

use std::borrow::Cow;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Base,
    /// `/robots.txt`
    Robots,
    /// `/favicon.ico`
    Favicon,
    /// A path that never is a link.
    Reserved,
    /// A path that may be a link, without its leading slash.
    Slug(&'a str),
}

/// First segments that never begin a link's slug: health and metrics live on the admin port, the
/// rest is reserved for later versions and for what browsers and operators expect of a host.
const RESERVED: &[&str] =
    &[".well-known", "_", "admin", "api", "healthz", "livez", "metrics", "readyz", "static", "v1"];

/// What `path` (as requested, with its leading slash) is.
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

/// The spelling of a requested slug that a link may have: without escapes of characters that need none
/// (RFC 3986, 6.2.2.2), and without slashes at its ends, which no link has. Borrowed where there is no
/// `%`.
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

/// The character that the two hex digits at the start of `escape` stand for, if it needs no escape.
fn unreserved(escape: &str) -> Option<char> {
    let digits = escape.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let character = char::from(u8::from_str_radix(digits, 16).ok()?);
    (character.is_ascii_alphanumeric() || "-._~".contains(character)).then_some(character)
}

/// Whether no link may have this slug.
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
