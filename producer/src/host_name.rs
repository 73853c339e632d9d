//! Host names: whether a text is one, and the domain that a `Host` names.
//!
//! Pure. A visitor may send any bytes as `Host`. A click records no domain if they are no host name, so
//! that readers of the table find only host names there. Redirects, the collector and imports all read
//! hosts with this file, so that one host is one domain.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use url::Host;

/// Most bytes of a host name (RFC 1035).
const BYTES_MAX: usize = 253;
/// Most bytes of a Unicode host name to convert: a character has at most four.
const UNICODE_BYTES_MAX: usize = 4 * BYTES_MAX;

/// Whether a text is a host name in lower case, or an IPv6 address in brackets.
pub fn is_host_name(text: &str) -> bool {
    if let Some(bracketed) = text.strip_prefix('[') {
        return bracketed.strip_suffix(']').is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
    }
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    (1..=BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| is_letter(byte) || matches!(byte, b'.' | b'-' | b'_'))
        // Access logs write a single dash for a missing host.
        && text.bytes().any(is_letter)
}

/// The domain of a `Host`: in lower case, without its port and without the dot at its end; the ASCII
/// form (IDNA) of a Unicode name. `None` if it is no host name.
pub fn domain(host: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let end = match (host.rfind(':'), host.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => host.len(),
        (Some(colon), _) if host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()) => colon,
        (Some(_) | None, _) => host.len(),
    };
    let end = host[..end].trim_end_matches('.').len();
    if !host[..end].is_ascii() {
        return ascii_form(&host[..end]).map(Cow::Owned);
    }
    let is_plain = end == host.len() && !host.bytes().any(|byte| byte.is_ascii_uppercase());
    let domain = if is_plain { host } else { Cow::Owned(host[..end].to_ascii_lowercase()) };
    is_host_name(&domain).then_some(domain)
}

/// The port of a `Host`, if it has one.
pub fn port(host: &str) -> Option<u16> {
    host.rsplit_once(':')?.1.parse().ok()
}

/// A Unicode host name in the form in which browsers send it.
fn ascii_form(name: &str) -> Option<String> {
    if name.len() > UNICODE_BYTES_MAX {
        return None;
    }
    let mut ascii = Host::parse(name).ok()?.to_string();
    // Unicode has other dots, which become ASCII dots.
    ascii.truncate(ascii.trim_end_matches('.').len());
    is_host_name(&ascii).then_some(ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(host: &str) -> Option<String> {
        domain(host.into()).map(Cow::into_owned)
    }

    #[test]
    fn m10_only_a_host_name_is_a_domain() {
        let longest = format!("{}.example", "a".repeat(BYTES_MAX - 8));
        for (host, expected) in [
            ("Go.Example:8080", "go.example"),
            ("go.example.", "go.example"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Bücher.example:8080", "xn--bcher-kva.example"),
            ("BÜRO.example.", "xn--bro-hoa.example"),
            ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
            ("my_shop.local:80", "my_shop.local"),
            ("_dmarc.Example", "_dmarc.example"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            (&longest, &longest),
        ] {
            assert_eq!(of(host).as_deref(), Some(expected), "{host}");
        }
        for host in [
            "",
            ".",
            "-",
            ":80",
            "a b",
            "a'b",
            r"\') union all select max(424242) from clicks where 1=1 -- go.example",
            "go.example\\",
            "go.example\"",
            "go.example:80x",
            "go.example:80:80x",
            "user@go.example",
            "a,b",
            "_",
            "__.-",
            "ü b",
            "a,ü",
            "ü\u{ffff}.example",
            &"ü".repeat(BYTES_MAX),
            &"ü".repeat(UNICODE_BYTES_MAX),
            "<script>",
            "a\u{0}b",
            "[::1",
            "[::1]x",
            "[go.example]",
            "[]",
            "::1",
            &format!("a{longest}"),
        ] {
            assert_eq!(of(host), None, "{host}");
        }
    }

    proptest! {
        #[test]
        fn f11_every_spelling_of_a_host_is_one_domain(
            host in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,9}){0,3}",
            capitals in proptest::collection::vec(any::<bool>(), 60),
            dot in "\\.?",
            port in proptest::option::of(0..=65_535u32),
        ) {
            let spelled: String = host.chars().zip(capitals.iter().cycle())
                .map(|(letter, up)| if *up { letter.to_ascii_uppercase() } else { letter })
                .collect();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let spelled = format!("{spelled}{dot}{port}");
            prop_assert_eq!(of(&spelled), Some(host), "{}", spelled);
        }

        #[test]
        fn m10_any_text_gives_a_host_name_or_none(text: String, port: u16) {
            for host in [text.clone(), format!("{text}:{port}")] {
                prop_assert!(of(&host).is_none_or(|domain| is_host_name(&domain)));
            }
        }
    }
}
