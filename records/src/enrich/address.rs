//! The address that a header or a link names, and its host.

use url::Url;

/// Bytes of the longest name in the DNS.
pub(super) const HOST_BYTES_MAX: usize = 253;
/// Bytes of user, host and port of an address that is parsed. An international name may be longer before
/// it is in ASCII, which takes time proportional to the square of its length.
const AUTHORITY_BYTES_MAX: usize = 512;

/// Parses an address; `None` also if its authority is longer than that of any site.
pub(super) fn parse(address: &str) -> Option<Url> {
    let (_, rest) = address.split_once(':')?;
    // Parsers skip these, and any number of slashes.
    let rest = rest.trim_start_matches(['/', '\\', '\t', '\n', '\r']);
    // Reads no more of a longer one.
    let mut bytes = rest.bytes().take(AUTHORITY_BYTES_MAX + 1);
    let ends = bytes.any(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#'));
    if !ends && rest.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    Url::parse(address).ok()
}

/// Lower-case host of `address`, without `www.`; empty if there is no host, or if the DNS cannot hold
/// it. International names have their ASCII form.
pub(super) fn host(address: &str) -> String {
    let Some(url) = parse(address) else { return String::new() };
    // A host with a backslash is invalid: browsers read the backslash as a slash.
    let (_, rest) = address.split_once("//").unwrap_or_default();
    if rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('\\')) {
        return String::new();
    }
    let host = bare(url.host_str().unwrap_or_default());
    if host.len() > HOST_BYTES_MAX { String::new() } else { host.to_ascii_lowercase() }
}

/// A host without `www.` and without the dot of the root.
pub(super) fn bare(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.split_at_checked(4) {
        Some((www, rest)) if www.eq_ignore_ascii_case("www.") => rest,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_or_empty() {
        for (address, expected) in [
            ("https://t.co/abc", "t.co"),
            ("https://WWW.Example.com:8443/x?y", "example.com"),
            ("https://bücher.example/straße", "xn--bcher-kva.example"),
            ("android-app://com.google.android.gm/", "com.google.android.gm"),
            ("http://[2001:db8::1]/", "[2001:db8::1]"),
            ("http://example.com./", "example.com"),
            ("not an address", ""),
            ("about:blank", ""),
            ("http://\\xe4\\xe5.example/", ""),
            ("https://a.example/x\\y", "a.example"),
            ("-", ""),
            ("", ""),
        ] {
            assert_eq!(host(address), expected, "{address}");
        }
    }

    #[test]
    fn h6_a_host_that_the_dns_cannot_hold_counts_as_no_host() {
        let labels = |count: usize| format!("{}com", "a.".repeat(count));
        assert_eq!(labels(125).len(), HOST_BYTES_MAX);
        assert_eq!(host(&format!("https://{}/", labels(125))), labels(125));
        for long in [
            format!("https://{}/", labels(126)),
            format!("https://{}/", labels(1_000)),
            format!("https:{}", labels(1_000)),
            format!("https:\\\\{}", labels(1_000)),
            format!("https:/\t/{}", labels(1_000)),
            format!("HTTPS:////{}?x", labels(1_000)),
            format!("https://{}", "ü".repeat(1_000)),
            format!("https:{}", "\u{4e00}.".repeat(500)),
            format!("https://{}@t.co/", "u".repeat(1_000)),
            format!("https://{}.example/", "%C3%BC".repeat(300)),
            format!("android-app://{}", "a.".repeat(1_000)),
            ".".repeat(2_048),
            "https://".repeat(200),
        ] {
            let found = host(&long);
            assert!(found.is_empty() || found == "https", "{long}: {found}");
        }
        // A long path is not part of the host.
        assert_eq!(host(&format!("https://t.co/{}", "a.".repeat(1_000))), "t.co");
    }
}
