//! What a path of the public port is: the base, a reserved path, or a slug.
//!
//! Pure, and the only list of reserved paths: links may not take them, and
//! requests for them are recorded as such.

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
        slug => Route::Slug(slug),
    }
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
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
