//! The origin that a `Referer` header names.

use crate::enrich::address::host;
use crate::enrich::medium::{Medium, Origin};
use crate::enrich::referrer_table::ReferrerTable;

/// Host and origin of a `Referer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Referrer {
    /// Its host, or the app's package; empty if there is none.
    pub(super) host: String,
    /// Its origin.
    pub(super) origin: Origin,
}

impl Referrer {
    /// Reads a header value; empty text is none.
    pub(super) fn of(address: &str, referrers: &ReferrerTable) -> Self {
        let host = host(address);
        let origin = if host.is_empty() {
            // Without a referrer, browsers send `about:blank` and access logs hold `-`.
            let none = matches!(address.trim(), "" | "-") || address.starts_with("about:");
            let medium = if none { Medium::Direct } else { Medium::Unknown };
            Origin { medium, ..Origin::default() }
        } else {
            let known = match address.get(..14) {
                Some(scheme) if scheme.eq_ignore_ascii_case("android-app://") => {
                    referrers.of_app(&host)
                }
                _ => referrers.hosts().of(&host),
            };
            known.cloned().unwrap_or_else(|| Origin::unknown(&host))
        };
        Self { host, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referrer_has_a_name_or_is_unknown() {
        let referrers = ReferrerTable::built_in();
        for (address, source, medium) in [
            ("https://www.google.de/", "Google", Medium::Search),
            ("android-app://com.google.android.gm/", "Gmail", Medium::Email),
            ("android-app://org.example.reader/", "org.example.reader", Medium::Referral),
            ("https://com.google.android.gm/", "com.google.android.gm", Medium::Referral),
            ("https://blog.example/post", "blog.example", Medium::Referral),
            ("", "", Medium::Direct),
            ("-", "", Medium::Direct),
            ("about:blank", "", Medium::Direct),
            ("not an address", "", Medium::Unknown),
            ("ääää-äpp://äääääääää", "", Medium::Unknown),
        ] {
            let found = Referrer::of(address, referrers).origin;
            assert_eq!((&*found.source, found.medium), (source, medium), "{address}");
        }
    }
}
