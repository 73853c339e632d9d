//! The hosts of the site that wrote a log, for formats without hosts.
//!
//! Pure. A line that names its host keeps it.

use std::str::FromStr;

use crate::host_name;
use crate::import::request_target::RequestTarget;

/// One host of a site, as a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHost(String);

impl FromStr for SiteHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let domain = host_name::domain(text.into()).map(|domain| Self(domain.into_owned()));
        domain.ok_or_else(|| format!("{text:?} is not a host name such as www.example.org"))
    }
}

/// The hosts of a site, its main host first.
#[derive(Debug, Clone, Default)]
pub struct SiteHosts(Vec<SiteHost>);

impl SiteHosts {
    /// Hosts, with the main host first.
    pub fn new(hosts: Vec<SiteHost>) -> Self {
        Self(hosts)
    }

    /// The first host.
    pub fn main(&self) -> Option<&str> {
        self.0.first().map(|host| host.0.as_str())
    }

    /// The host of a referrer's page, if it is one of these hosts, with or without `www.`.
    pub fn of_referer(&self, referer: &str) -> Option<&str> {
        let domain = host_name::domain(RequestTarget::read(referer)?.host?.into())?;
        let hosts = self.0.iter().map(|host| host.0.as_str());
        hosts.into_iter().find(|host| without_www(host) == without_www(&domain))
    }
}

fn without_www(host: &str) -> &str {
    host.strip_prefix("www.").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(names: &[&str]) -> SiteHosts {
        SiteHosts::new(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn i5_a_referrer_on_one_of_the_sites_hosts_names_it() {
        let hosts = hosts(&["WWW.Example.org:443", "shop.example.org"]);
        assert_eq!(hosts.main(), Some("www.example.org"));
        for (referer, expected) in [
            ("http://example.org/a", Some("www.example.org")),
            ("https://www.EXAMPLE.org:8443?x", Some("www.example.org")),
            ("https://shop.example.org", Some("shop.example.org")),
            ("https://www.shop.example.org.", Some("shop.example.org")),
            ("https://example.org.evil/", None),
            ("https://evil/?example.org", None),
            ("https://example.org@evil/", None),
            ("/a", None),
            ("-", None),
            ("android-app://example.org/", None),
        ] {
            assert_eq!(hosts.of_referer(referer), expected, "{referer}");
        }
        assert_eq!(SiteHosts::default().of_referer("http://example.org/"), None);
        assert!("https://example.org".parse::<SiteHost>().is_err());
        assert!("".parse::<SiteHost>().is_err());
    }

    proptest! {
        #[test]
        fn f9_a_page_of_any_host_of_the_site_is_inner_and_no_other_page_is(
            names in proptest::collection::vec("[a-v]{1,9}\\.[a-z]{2,5}", 1..5),
            at: prop::sample::Index, www: bool, port in proptest::option::of(1..9_999u16),
            other in "x[a-z]{1,9}\\.[a-z]{2,5}", path in "[/?][ -~]{0,20}",
        ) {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let (hosts, host) = (hosts(&names), names[at.index(names.len())]);
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let www = if www { "www." } else { "" };
            let page = |host: &str| format!("https://{www}{}{port}{path}", host.to_uppercase());
            prop_assert_eq!(hosts.of_referer(&page(host)), Some(host));
            prop_assert_eq!(hosts.of_referer(&page(&other)), None);
        }
    }
}
