//! The start of a line up to its time: the client, and in some formats the virtual host before it.
//!
//! Pure. A server names its client by an address, a list of addresses, or a host name. The names of the
//! user follow, and are not read.

use std::net::IpAddr;

use crate::client::proxies::node;
use crate::host_name;

/// Virtual host and client of a line, as the log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePrefix<'a> {
    /// Host with its port, in formats such as `vhost_combined`.
    pub host: Option<&'a str>,
    /// The client.
    pub client: &'a str,
}

impl<'a> LinePrefix<'a> {
    /// Reads the text before the time.
    pub fn read(text: &'a str) -> Self {
        let (first, rest) = list(text);
        let (second, _) = list(rest);
        if is_virtual_host(first, second) {
            Self { host: Some(first), client: second }
        } else {
            Self { host: None, client: first }
        }
    }
}

/// The first word of a text, with the words that commas join to it, or the first quoted text; and the text
/// after it.
fn list(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(' ');
    if let Some((quoted, rest)) = text.strip_prefix('"').and_then(|text| text.split_once('"')) {
        return (quoted, rest);
    }
    let mut end = 0;
    loop {
        end += text[end..].find(' ').unwrap_or(text.len() - end);
        let rest = text[end..].trim_start_matches(' ');
        if rest.is_empty() || !(text[..end].ends_with(',') || rest.starts_with(',')) {
            return text.split_at(end);
        }
        end = text.len() - rest.len();
    }
}

/// Whether the first of two texts is the virtual host, and not the client. In a line without a virtual
/// host the second text is the user name that the client's identd reports: `-`.
fn is_virtual_host(first: &str, second: &str) -> bool {
    let is_bare = |text: &str| text.parse::<IpAddr>().is_ok();
    if first.split(',').any(|item| node(item.trim()).is_some()) {
        // The log has a virtual host that is an address with its port.
        return !first.contains(',') && !is_bare(first) && is_bare(second);
    }
    let has_address = second.split(',').any(|item| node(item.trim()).is_some());
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = first.rsplit_once(':').is_some_and(|(_, port)| is_port(port));
    has_address || (has_port && host_name::domain(first.into()).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn i3_a_virtual_host_before_the_client_is_read() {
        for (text, host, client) in [
            ("8.8.8.8 - - ", None, "8.8.8.8"),
            ("8.8.8.8:55220 - me ", None, "8.8.8.8:55220"),
            ("8.8.8.8, 10.0.0.1 - - ", None, "8.8.8.8, 10.0.0.1"),
            ("8.8.8.8 , 10.0.0.1 - - ", None, "8.8.8.8 , 10.0.0.1"),
            ("8.8.8.8,10.0.0.1 ident user ", None, "8.8.8.8,10.0.0.1"),
            ("\"8.8.8.8, 10.0.0.1\" - - ", None, "8.8.8.8, 10.0.0.1"),
            ("host.example - - ", None, "host.example"),
            ("host.example ident two words ", None, "host.example"),
            ("- - - ", None, "-"),
            // A client of a socket file; a client whose name ends with a colon.
            ("unix: - - ", None, "unix:"),
            ("host.example: - me ", None, "host.example:"),
            ("host.example:8o - - ", None, "host.example:8o"),
            ("", None, ""),
            ("8.8.8.8,", None, "8.8.8.8,"),
            ("www.example.org:443 8.8.8.8 - - ", Some("www.example.org:443"), "8.8.8.8"),
            ("www.example.org 8.8.8.8 - - ", Some("www.example.org"), "8.8.8.8"),
            (
                "www.example.org:80 [2001:db8::8]:4711 - - ",
                Some("www.example.org:80"),
                "[2001:db8::8]:4711",
            ),
            (
                "www.example.org:80 8.8.8.8, 10.0.0.1 - - ",
                Some("www.example.org:80"),
                "8.8.8.8, 10.0.0.1",
            ),
            ("www.example.org:80 host.example - - ", Some("www.example.org:80"), "host.example"),
            ("192.0.2.1:443 8.8.8.8 - - ", Some("192.0.2.1:443"), "8.8.8.8"),
            ("[2001:db8::1]:443 8.8.8.8 - - ", Some("[2001:db8::1]:443"), "8.8.8.8"),
            ("- 8.8.8.8 - - ", Some("-"), "8.8.8.8"),
        ] {
            assert_eq!(LinePrefix::read(text), LinePrefix { host, client }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn f8_a_host_of_any_spelling_before_any_address_is_a_virtual_host(
            host in "[A-Za-z][A-Za-z0-9-]{0,20}(\\.[a-z]{2,9}){0,2}",
            port in proptest::option::of(1..=65_535u16),
            client: IpAddr,
            user in "[a-z@-]{1,9}( [a-z]{1,9})?",
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let (host, client) = (format!("{host}{port}"), client.to_string());
            let text = format!("{host} {client} - {user} ");
            let expected = LinePrefix { host: Some(&host), client: &client };
            prop_assert_eq!(LinePrefix::read(&text), expected);
            let text = format!("{client} - {user} ");
            prop_assert_eq!(LinePrefix::read(&text), LinePrefix { host: None, client: &client });
        }

        #[test]
        fn f8_any_text_before_the_time_is_read_without_a_panic(text: String) {
            let read = LinePrefix::read(&text);
            prop_assert!(text.contains(read.client));
        }
    }
}
