//! The `Host` header of a request.
//!
//! Pure. RFC 9112, 3.2: a request of HTTP/1.1 without one, or any request with two, is answered with 400:
//! two readers of it could see two hosts. Lines that end with LF alone are accepted, as RFC 9112, 2.2
//! allows.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::Version;
use hyper::header::{HOST, HeaderMap, HeaderValue};

/// Names that public DNS never resolves: no web page can have them (RFC 6761, 6762, 8375,
/// ICANN's `.internal`, a Kubernetes service).
const PRIVATE: [&str; 6] =
    [".localhost", ".local", ".internal", ".home.arpa", ".svc", ".cluster.local"];

/// Whether a request has the `Host` that its version of HTTP demands.
pub fn is_complete(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Host names that an admin port answers to, besides those that no web page can have.
///
/// A web page can resolve its own name to an address of this host (DNS rebinding), and its script may
/// then read the answers. The browser sends the page's name as `Host`, and no other header
/// distinguishes such a request: `Origin` and `Sec-Fetch-Site` are missing at a plain HTTP name. So
/// `Host` must be an address, `localhost`, a name without a dot (of a service in compose or a pod's
/// namespace), a private name, or one of these. Probes of Kubernetes send the pod's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminHosts(Vec<String>);

impl FromStr for AdminHosts {
    type Err = String;

    /// Names, comma-separated.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let name = |name: &str| {
            let is_name = name.bytes().all(|it| it.is_ascii_alphanumeric() || b".-_".contains(&it));
            let error = || format!("{name:?} is not a host name; write it without port");
            is_name.then(|| name.to_ascii_lowercase()).ok_or_else(error)
        };
        names.map(name).collect::<Result<_, _>>().map(Self)
    }
}

impl AdminHosts {
    /// Whether the port answers a request with these headers. It answers one without `Host`, since every
    /// browser sends one.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        headers.get(HOST).map(HeaderValue::as_bytes).is_none_or(|host| self.admit_host(host))
    }

    fn admit_host(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        if let Some(bracketed) = host.strip_prefix('[') {
            return bracketed.split(']').next().is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
        }
        let name = host.split(':').next().unwrap_or_default();
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || PRIVATE.iter().any(|suffix| name.ends_with(suffix))
            || self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (HOST, HeaderValue::from_str(host).unwrap())).collect()
    }

    #[test]
    fn l1_a_request_has_one_host_and_only_http_1_0_may_do_without() {
        for (version, hosts, complete) in [
            (Version::HTTP_11, &["a"][..], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &["a", "b", "c"], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["a", "b"], false),
        ] {
            assert_eq!(is_complete(version, &headers(hosts)), complete, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn l11_an_admin_port_answers_to_no_name_of_the_web() {
        let hosts: AdminHosts = "Producer.Prod.example, other.example".parse().unwrap();
        for (host, admitted) in [
            ("127.0.0.1:9180", true),
            ("10.1.2.3", true),
            ("[::1]:9180", true),
            ("[fd00::1]", true),
            ("localhost:9180", true),
            ("producer:9180", true),
            ("producer.clicktrail.svc:9180", true),
            ("producer.clicktrail.svc.cluster.local", true),
            ("PRODUCER.prod.example.:9180", true),
            ("evil.example", false),
            ("evil.example:9180", false),
            ("EVIL.example.", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:9180", false),
            ("x.other.example", false),
            ("[evil.example]", false),
            ("[::1", true),
            ("127.1.x.y", false),
        ] {
            assert_eq!(hosts.admit(&headers(&[host])), admitted, "{host}");
        }
        assert!(hosts.admit(&HeaderMap::new()));
        assert!("a:9180".parse::<AdminHosts>().is_err());
    }
}
