//! The client address of a line, from the fields that name it.
//!
//! Pure. The first field of a line is the peer of the server, or the list that a proxy sent. A separate
//! field holds the header that proxies write.

use std::net::IpAddr;

use crate::client::proxies::{Networks, Proxies, node};

/// The fields of a line that name its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientFields<'a> {
    /// An address, with or without a port, or a comma-separated list of them.
    pub peer: &'a str,
    /// The header in which proxies name their clients, if it is logged.
    pub forwarded: Option<&'a str>,
}

impl ClientFields<'_> {
    /// The client. If there are trusted proxies, both fields are read from their ends, past the addresses of
    /// trusted proxies, as for redirects. Otherwise it is the first address of the list, and the header is
    /// ignored.
    pub fn client(self, proxies: &Proxies) -> Option<IpAddr> {
        let items = self.peer.split(',').map(str::trim).filter(|item| !item.is_empty());
        if proxies.trusted == Networks::default() {
            return items.into_iter().find_map(node);
        }
        let mut client = None;
        for item in items.rev() {
            let Some(address) = node(item) else { return client };
            if !proxies.trusted.contain(address) {
                return Some(address);
            }
            client = Some(address);
        }
        Some(proxies.client_by_text(self.forwarded.unwrap_or_default(), client?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::proxies::ProxyHeader;

    fn client(peer: &str, forwarded: Option<&str>, trusted: &str) -> Option<String> {
        let trusted = trusted.parse().unwrap();
        let proxies = Proxies { trusted, header: ProxyHeader::XForwardedFor };
        ClientFields { peer, forwarded }.client(&proxies).map(|address| address.to_string())
    }

    #[test]
    fn i1_i2_ports_and_lists_name_a_client() {
        for (peer, expected) in [
            ("8.8.8.8:55220", Some("8.8.8.8")),
            ("[2001:db8::8]:443", Some("2001:db8::8")),
            ("::ffff:8.8.8.8", Some("8.8.8.8")),
            ("8.8.8.8, 10.0.0.1", Some("8.8.8.8")),
            ("8.8.8.8:1,10.0.0.1:2", Some("8.8.8.8")),
            ("unknown, 8.8.8.8", Some("8.8.8.8")),
            (",8.8.8.8,", Some("8.8.8.8")),
            ("-", None),
            ("", None),
            ("host.example", None),
            ("unix:", None),
            ("8.8.8", None),
        ] {
            assert_eq!(client(peer, Some("9.9.9.9"), "").as_deref(), expected, "{peer}");
        }
    }

    #[test]
    fn i4_behind_trusted_proxies_the_client_is_the_last_address_that_is_none_of_them() {
        let trusted = "10.0.0.0/8";
        for (peer, forwarded, expected) in [
            ("10.0.0.9", Some("8.8.8.8"), Some("8.8.8.8")),
            ("10.0.0.9:80", Some("6.6.6.6, 8.8.8.8:4711"), Some("8.8.8.8")),
            ("10.0.0.9", Some("6.6.6.6, 8.8.8.8, 10.0.0.2"), Some("8.8.8.8")),
            ("10.0.0.9", Some("-"), Some("10.0.0.9")),
            ("10.0.0.9", None, Some("10.0.0.9")),
            ("10.0.0.9", Some("8.8.8.8, unknown"), Some("10.0.0.9")),
            // Another client than a proxy writes what it likes.
            ("7.7.7.7", Some("8.8.8.8"), Some("7.7.7.7")),
            ("6.6.6.6, 8.8.8.8, 10.0.0.1", Some("9.9.9.9"), Some("8.8.8.8")),
            ("10.0.0.2, 10.0.0.1", Some("8.8.8.8"), Some("8.8.8.8")),
            ("8.8.8.8, unknown, 10.0.0.1", None, Some("10.0.0.1")),
            ("unknown", Some("8.8.8.8"), None),
        ] {
            let found = client(peer, forwarded, trusted);
            assert_eq!(found.as_deref(), expected, "{peer} {forwarded:?}");
        }
    }

    proptest! {
        #[test]
        fn f8_an_address_is_read_whatever_port_brackets_and_list_are_around_it(
            bits: u128, v4: bool, port in proptest::option::of(0..=65_535u16), brackets: bool,
            more in proptest::collection::vec("[0-9]{1,3}\\.9\\.9\\.9", 0..3),
            comma in prop_oneof![Just(","), Just(", "), Just(" ,"), Just(",  ,")],
        ) {
            let address = if v4 {
                IpAddr::from(std::net::Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()))
            } else {
                IpAddr::from(std::net::Ipv6Addr::from_bits(bits))
            };
            let mut text = match port {
                Some(port) => std::net::SocketAddr::new(address, port).to_string(),
                None if brackets && !v4 => format!("[{address}]"),
                None => address.to_string(),
            };
            for item in more {
                text = format!("{text}{comma}{item}");
            }
            prop_assert_eq!(client(&text, None, ""), Some(address.to_canonical().to_string()));
        }
    }
}
