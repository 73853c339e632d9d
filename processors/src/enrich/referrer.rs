//! The host of a referring or target address.

use url::Url;

/// Lower-case host of `address`, without `www.`; empty when there is none. International names
/// come in their ASCII form.
pub(super) fn host(address: &str) -> String {
    let Ok(url) = Url::parse(address) else { return String::new() };
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_is_found_or_empty() {
        for (address, expected) in [
            ("https://t.co/abc", "t.co"),
            ("https://WWW.Example.com:8443/x?y", "example.com"),
            ("https://bücher.example/straße", "xn--bcher-kva.example"),
            ("android-app://com.google.android.gm/", "com.google.android.gm"),
            ("http://[2001:db8::1]/", "[2001:db8::1]"),
            ("not an address", ""),
            ("about:blank", ""),
            ("-", ""),
            ("", ""),
        ] {
            assert_eq!(host(address), expected, "{address}");
        }
    }
}
