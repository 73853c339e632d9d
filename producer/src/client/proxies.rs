//! The address of the client, if proxies are between it and this host.
//!
//! Pure. Only the part of a header counts that trusted proxies wrote. It is read from its end, past the
//! addresses of trusted proxies, to the first other address. Addresses that a client wrote itself are
//! before that one, and are never reached.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which trusted proxies name their clients. Other headers are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: addresses, comma-separated
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): its `for=`
    Forwarded,
}

/// Networks whose hosts are trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl FromStr for Networks {
    type Err = String;

    /// Comma-separated networks; an address is a network of one host.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let network = |word: &str| {
            let address = || word.parse::<IpAddr>().map(|address| address.to_canonical().into());
            let parsed = word.parse::<IpNet>().or_else(|_| address());
            parsed.map_err(|_| format!("{word:?} is not a network such as 10.0.0.0/8 or fd00::/8"))
        };
        words.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Networks {
    /// Whether an address is in one of these networks.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Which proxies to trust, and which of their headers to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Networks of trusted proxies; by default there are none.
    pub trusted: Networks,
    /// The header to read.
    pub header: ProxyHeader,
}

impl Proxies {
    /// The client of a request that `peer` sent. If a trusted proxy names no client, or names it by a text
    /// that is no address, the proxy counts as the client.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusted.contain(peer) {
            return peer;
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        // Several headers of one name form one list.
        self.walk(headers.get_all(name).iter().rev().map(HeaderValue::as_bytes), peer)
    }

    /// As [`Proxies::client`], by the text of the header, such as from an access log.
    pub fn client_by_text(&self, header: &str, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if self.trusted.contain(peer) { self.walk([header.as_bytes()], peer) } else { peer }
    }

    /// The client of a trusted `proxy`, by the lines of the header, last line first.
    fn walk<'a>(&self, lines: impl IntoIterator<Item = &'a [u8]>, proxy: IpAddr) -> IpAddr {
        let mut client = proxy;
        // A comma in quotes splits its item too: each part then lacks a quote, and is no item.
        let items = lines.into_iter().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for item in items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()) {
            let Some(address) = std::str::from_utf8(item).ok().and_then(|item| self.address(item))
            else {
                return client;
            };
            client = address;
            if !self.trusted.contain(client) {
                return client;
            }
        }
        client
    }

    fn address(&self, item: &str) -> Option<IpAddr> {
        match self.header {
            ProxyHeader::XForwardedFor => node(item),
            ProxyHeader::Forwarded => element(item),
        }
    }
}

/// The `for=` of one element of `Forwarded`: pairs, each a token or a quoted text without escapes.
fn element(item: &str) -> Option<IpAddr> {
    let mut client = None;
    for pair in item.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"')?,
            None => value,
        };
        if value.contains(['"', '\\']) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && client.replace(node(value)?).is_some() {
            return None;
        }
    }
    client
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`, `::ffff:192.0.2.1:80`. An IPv4 address that is mapped to IPv6 is IPv4.
pub fn node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let is_valid = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_valid)?)
        }
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                // Behind an IPv6 address without brackets a port would be a part of the address.
                let (address, port) = text.rsplit_once(':').filter(|(it, _)| it.contains('.'))?;
                address.parse().ok().filter(|_: &IpAddr| is_port(port))?
            }
        },
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn proxies(header: ProxyHeader) -> Proxies {
        Proxies { trusted: "10.0.0.0/8, fd00::/8,198.51.100.7".parse().unwrap(), header }
    }

    fn client(header: ProxyHeader, peer: &str, lines: &[(&'static str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        proxies(header).client(&headers, peer.parse().unwrap()).to_string()
    }

    #[test]
    fn no_proxy_is_trusted_by_default() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(Proxies::default().client(&headers, peer), peer);
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_client() {
        for (lines, expected) in [
            // As it should be.
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9,10.0.0.2,fd00::1,198.51.100.7"], "203.0.113.9"),
            (&["2001:db8::9"], "2001:db8::9"),
            // Ports, brackets, IPv4 mapped to IPv6.
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::9]:443"], "2001:db8::9"),
            (&["[2001:db8::9]"], "2001:db8::9"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["::ffff:203.0.113.9:80"], "203.0.113.9"),
            (&["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
            // An address that the client wrote is before the one that the proxy saw.
            (&["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.9, 203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["6.6.6.6, 203.0.113.9", "10.0.0.2, 10.0.0.3"], "203.0.113.9"),
            (&["nonsense, 203.0.113.9"], "203.0.113.9"),
            // Empty items are skipped.
            (&["203.0.113.9, , ,"], "203.0.113.9"),
            (&["203.0.113.9", ""], "203.0.113.9"),
            (&[""], PEER),
            (&[], PEER),
            // Only proxies: the one that is furthest from us.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // A malformed item ends the walk: the addresses before it cannot be trusted.
            (&["203.0.113.9, unknown"], PEER),
            (&["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.9, 10.0.0.256"], PEER),
            (&["203.0.113.9:"], PEER),
            (&["203.0.113.9:65536"], PEER),
            (&["203.0.113.9:+80"], PEER),
            (&["[203.0.113.9]"], PEER),
            (&["[2001:db8::9"], PEER),
            (&["2001:db8::9]"], PEER),
            (&["[2001:db8::9]x"], PEER),
            (&["fe80::1%eth0"], PEER),
            (&["\"203.0.113.9\""], PEER),
            (&["for=203.0.113.9"], PEER),
            (&["203.0.113.9 203.0.113.8"], PEER),
        ] {
            let lines: Vec<_> =
                lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
            assert_eq!(client(ProxyHeader::XForwardedFor, PEER, &lines), expected, "{lines:?}");
        }
        let line = &b"\xff\xfe, 203.0.113.9"[..];
        let lines = [("x-forwarded-for", line)];
        assert_eq!(client(ProxyHeader::XForwardedFor, PEER, &lines), "203.0.113.9");
    }

    #[test]
    fn elements_of_forwarded_are_read_strictly() {
        for (line, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
            ("proto=https; for=\"203.0.113.9:4711\"", "203.0.113.9"),
            ("for=\"[2001:db8::9]:443\"", "2001:db8::9"),
            ("for=6.6.6.6, for=203.0.113.9, for=10.0.0.2;", "203.0.113.9"),
            ("for=unknown, for=203.0.113.9", "203.0.113.9"),
            ("for=203.0.113.9, for=unknown", PEER),
            ("for=203.0.113.9, for=_hidden", PEER),
            ("for=203.0.113.9, proto=https", PEER),
            ("for=203.0.113.9;for=6.6.6.6", PEER),
            ("for=203.0.113.9;by", PEER),
            ("203.0.113.9", PEER),
            // A client's Host, quoted by the proxy, is never read as an element.
            ("for=203.0.113.9;host=\"x, for=6.6.6.6\"", PEER),
            ("for=203.0.113.9;host=\"x, for=6.6.6.6;y=\"", PEER),
            ("for=203.0.113.9;host=\"x, for=6.6.6.6;y=\\\"\"", PEER),
            // A quote that the client did not close ends before what the proxy wrote.
            ("for=\"6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ] {
            let lines = [("forwarded", line.as_bytes())];
            assert_eq!(client(ProxyHeader::Forwarded, PEER, &lines), expected, "{line}");
        }
    }

    #[test]
    fn only_the_chosen_header_counts_and_only_from_a_trusted_peer() {
        let lines = [("x-forwarded-for", &b"6.6.6.6"[..]), ("forwarded", b"for=203.0.113.9")];
        assert_eq!(client(ProxyHeader::Forwarded, PEER, &lines), "203.0.113.9");
        assert_eq!(client(ProxyHeader::XForwardedFor, PEER, &lines), "6.6.6.6");
        for peer in ["192.0.2.1", "2001:db8::1", "198.51.100.8"] {
            assert_eq!(client(ProxyHeader::XForwardedFor, peer, &lines), peer);
        }
        assert_eq!(client(ProxyHeader::XForwardedFor, "::ffff:10.0.0.1", &lines), "6.6.6.6");
        assert_eq!(client(ProxyHeader::XForwardedFor, "::ffff:192.0.2.1", &lines), "192.0.2.1");
    }

    #[test]
    fn an_invalid_network_is_named() {
        assert_eq!("".parse(), Ok(Networks::default()));
        assert!("10.0.0.0/8,10.0.0.0/33".parse::<Networks>().unwrap_err().contains("10.0.0.0/33"));
        assert!("proxy.example".parse::<Networks>().is_err());
    }

    proptest! {
        #[test]
        fn no_header_of_a_client_changes_the_client_that_the_proxy_names(
            written in proptest::collection::vec("[ -~]{0,40}", 0..4),
            forwarded: bool,
        ) {
            let (header, name, seen) = if forwarded {
                (ProxyHeader::Forwarded, "forwarded", "for=203.0.113.9")
            } else {
                (ProxyHeader::XForwardedFor, "x-forwarded-for", "203.0.113.9")
            };
            // A proxy may append to the last line of a header, or add a line.
            let joined = format!("{}, {seen}", written.join(", "));
            prop_assert_eq!(client(header, PEER, &[(name, joined.as_bytes())]), "203.0.113.9");
            let mut lines: Vec<_> = written.iter().map(|line| (name, line.as_bytes())).collect();
            lines.push((name, seen.as_bytes()));
            prop_assert_eq!(client(header, PEER, &lines), "203.0.113.9");
        }
    }
}
