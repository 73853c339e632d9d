//! Origins by host: of one host, of a host with all hosts below it, or of a name under the suffix of any
//! country.

use std::collections::{HashMap, HashSet};

use url::Url;

use crate::enrich::address::HOST_BYTES_MAX;
use crate::enrich::medium::Origin;

/// The hosts of a referrer table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostTable {
    hosts: HashMap<Box<str>, HostEntry>,
    /// By the labels before the suffix of a country.
    any_country: HashMap<Box<str>, HostEntry>,
    /// Labels of the longest host that an entry names.
    labels_max: usize,
    /// Labels of services: a host below an entry that has one of them has another medium.
    services: HashSet<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HostEntry {
    origin: Origin,
    coverage: Coverage,
}

/// The hosts that an entry covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coverage {
    /// The named host, with and without `www`.
    Alone,
    /// The hosts below it too, except those of services.
    Below,
}

impl HostTable {
    /// Adds a mark of `origin`, such as `=example.com` or `images.example.*`; returns it in the form in
    /// which marks are compared.
    ///
    /// # Errors
    /// What is wrong with the mark.
    pub(super) fn add(&mut self, mark: &str, origin: Origin) -> Result<String, String> {
        let (name, coverage) = match mark.strip_prefix('=') {
            Some(name) => (name, Coverage::Alone),
            None => (mark, Coverage::Below),
        };
        let label = name.strip_suffix(".*");
        let host = host(label.unwrap_or(name)).ok_or_else(|| {
            format!(
                "{mark} is not a host: write it without scheme, port and path, and `*` last alone"
            )
        })?;
        let labels = host.split('.').count();
        let entry = HostEntry { origin, coverage };
        let (table, labels, key) = match label {
            Some(_) => (&mut self.any_country, labels + COUNTRY_LABELS_MAX, format!("{host}.*")),
            None => (&mut self.hosts, labels, host.clone()),
        };
        table.insert(host.into(), entry);
        self.labels_max = self.labels_max.max(labels);
        Ok(key)
    }

    /// Adds the label of a service, such as `help`.
    ///
    /// # Errors
    /// It is not one label.
    pub(super) fn add_service(&mut self, label: &str) -> Result<(), String> {
        if host(label).is_none_or(|host| host != label || host.contains('.')) {
            return Err(format!("service:{label} is not one label of a host, in lower case"));
        }
        self.services.insert(label.into());
        Ok(())
    }

    /// Adds the entries of `own`, which override the present ones.
    pub(super) fn extend(&mut self, own: Self) {
        self.hosts.extend(own.hosts);
        self.any_country.extend(own.any_country);
        self.services.extend(own.services);
        self.labels_max = self.labels_max.max(own.labels_max);
    }

    /// The origin of a host without `www`: that of the longest name that is the host, or a parent of it
    /// whose entry covers the hosts below. Looks up as many names as the longest entry has labels, and
    /// no name of a host that is too long for the DNS.
    pub(super) fn of(&self, host: &str) -> Option<&Origin> {
        if host.len() > HOST_BYTES_MAX {
            return None;
        }
        let country = country_ending(host);
        let mut name = last_labels(host, self.labels_max);
        loop {
            let of_country = || {
                let label = name.strip_suffix(country?)?.strip_suffix('.')?;
                self.any_country.get(label)
            };
            if let Some(entry) = self.hosts.get(name).or_else(of_country)
                && self.covers(entry.coverage, &host[..host.len() - name.len()])
            {
                return Some(&entry.origin);
            }
            name = name.split_once('.')?.1;
        }
    }

    /// Whether an entry counts for a host that has `labels` before its name, each with its dot.
    fn covers(&self, coverage: Coverage, labels: &str) -> bool {
        labels.is_empty()
            || coverage == Coverage::Below
                && !labels.split('.').any(|label| self.services.contains(label))
    }
}

/// A host in the form in which addresses are compared; international names in ASCII.
fn host(text: &str) -> Option<String> {
    if text.contains(['/', ':', '@', '?', '#', '*', '=']) {
        return None;
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    let host = url.host_str()?;
    Some(host.strip_prefix("www.").unwrap_or(host).to_owned())
}

/// Labels of the suffix of a country: `co` or `com`, and the country.
const COUNTRY_LABELS_MAX: usize = 2;

/// The end of a host, with at most this many labels.
fn last_labels(host: &str, labels_max: usize) -> &str {
    let dot = host.rmatch_indices('.').nth(labels_max.saturating_sub(1));
    dot.map_or(host, |(dot, _)| &host[dot + 1..])
}

/// The end of a host that is `com`, a country, or the domain of a country for companies.
fn country_ending(host: &str) -> Option<&str> {
    let (before, last) = host.rsplit_once('.')?;
    if last == "com" {
        return Some(last);
    }
    if last.len() != 2 || !last.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    match before.rsplit_once('.') {
        Some((name, "co" | "com")) => Some(&host[name.len() + 1..]),
        _ => Some(last),
    }
}

#[cfg(test)]
mod tests;
