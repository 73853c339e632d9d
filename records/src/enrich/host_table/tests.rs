//! Marks, the hosts that they cover, and the bound of a look-up.

use super::*;
use crate::enrich::medium::Medium;

fn table(marks: &[&str]) -> HostTable {
    let mut table = HostTable::default();
    for mark in marks {
        let origin = Origin { source: (*mark).into(), medium: Medium::Search };
        match mark.strip_prefix("service:") {
            Some(label) => table.add_service(label).unwrap(),
            None => drop(table.add(mark, origin).unwrap()),
        }
    }
    table
}

#[test]
fn a_mark_says_whether_it_covers_the_hosts_below() {
    let table = table(&[
        "wide.example",
        "=narrow.example",
        "deep.narrow.example",
        "=land.*",
        "images.land.*",
        "everywhere.*",
        "service:help",
    ]);
    for (host, expected) in [
        ("wide.example", "wide.example"),
        ("a.b.wide.example", "wide.example"),
        ("help.wide.example", ""),
        ("de.help.wide.example", ""),
        ("help.de.wide.example", ""),
        ("helpful.wide.example", "wide.example"),
        ("narrow.example", "=narrow.example"),
        ("a.narrow.example", ""),
        ("deep.narrow.example", "deep.narrow.example"),
        ("a.deep.narrow.example", "deep.narrow.example"),
        ("help.deep.narrow.example", ""),
        ("land.de", "=land.*"),
        ("land.com", "=land.*"),
        ("land.co.uk", "=land.*"),
        ("land.com.br", "=land.*"),
        ("mail.land.de", ""),
        ("images.land.de", "images.land.*"),
        ("a.images.land.com.br", "images.land.*"),
        ("land.example", ""),
        ("land.net", ""),
        ("com.land", ""),
        ("x.everywhere.co.jp", "everywhere.*"),
        ("everywhere.co.jp.example", ""),
        ("co.uk", ""),
        ("", ""),
        ("...", ""),
    ] {
        assert_eq!(table.of(host).map_or("", |origin| &*origin.source), expected, "{host}");
    }
}

#[test]
fn a_mark_without_and_with_an_equals_sign_is_the_same_mark() {
    let mut table = table(&["a.example"]);
    let own = |mark| {
        let mut own = HostTable::default();
        own.add(mark, Origin { source: "own".into(), medium: Medium::Social }).unwrap();
        own
    };
    assert_eq!(table.add("=a.example", Origin::default()).as_deref(), Ok("a.example"));
    table.extend(own("a.example"));
    assert_eq!(table.of("x.a.example").map(|origin| &*origin.source), Some("own"));
    table.extend(own("=a.example"));
    assert_eq!(table.of("x.a.example"), None);
}

#[test]
fn a_mark_that_is_not_a_host_is_refused() {
    for mark in ["", "=", "*", "a.*.b", "*.a", "a/b", "==a.example", "a b"] {
        let refused = HostTable::default().add(mark, Origin::default());
        assert!(refused.is_err(), "{mark}: {refused:?}");
    }
    for label in ["", "a.b", "Help", "a/b"] {
        assert!(HostTable::default().add_service(label).is_err(), "{label}");
    }
}

/// The result of looking up every parent of a host, one by one, with each suffix.
fn of_each_parent<'t>(table: &'t HostTable, host: &str) -> Option<&'t Origin> {
    let is_ending = |ending: &str| {
        let last = ending.strip_prefix("co.").or_else(|| ending.strip_prefix("com."));
        let last = last.unwrap_or(ending);
        ending == "com" || last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let starts = std::iter::once(0).chain(host.match_indices('.').map(|(dot, _)| dot + 1));
    starts.into_iter().find_map(|start| {
        let name = &host[start..];
        let longest_ending =
            name.match_indices('.').map(|(dot, _)| dot).find(|dot| is_ending(&name[dot + 1..]));
        let of_country = || table.any_country.get(&name[..longest_ending?]);
        let entry = table.hosts.get(name).or_else(of_country)?;
        let labels: Vec<_> = host[..start].split_terminator('.').collect();
        let is_service = labels.iter().any(|label| table.services.contains(*label));
        let alone = entry.coverage == Coverage::Alone;
        (labels.is_empty() || !alone && !is_service).then_some(&entry.origin)
    })
}

#[test]
fn h6_the_last_labels_of_a_host_decide_as_all_of_them_would() {
    let mut long = crate::enrich::referrer_table::ReferrerTable::built_in().hosts().clone();
    let built_in = long.clone();
    for mark in ["a.b.c.d.e.f.g.example", "odd.*", "=x.y.z.odd.*"] {
        long.add(mark, Origin::unknown(mark)).unwrap();
    }
    for table in [built_in, long] {
        let mut hosts: Vec<String> = table.hosts.keys().map(|host| host.to_string()).collect();
        hosts.extend(table.any_country.keys().flat_map(|label| {
            ["com", "de", "co.uk", "com.br", "evil.example"].map(|end| format!("{label}.{end}"))
        }));
        hosts.extend(
            ["", ".", "...", "com", "a..com", "x.a.b.c.d.e.f.g.example"].map(str::to_owned),
        );
        for host in hosts {
            for before in ["", "x.", "m.www.", ".", "help.", "a.b.c.d.e.f.g.h.i."] {
                let host = format!("{before}{host}");
                assert_eq!(table.of(&host), of_each_parent(&table, &host), "{host}");
            }
        }
    }
}

#[test]
fn h6_no_host_longer_than_the_dns_allows_is_looked_up() {
    let table = table(&["t.co"]);
    let of_length = |bytes: usize| format!("{}.t.co", "x".repeat(bytes - 5));
    assert!(table.of(&of_length(HOST_BYTES_MAX)).is_some());
    assert_eq!(table.of(&of_length(HOST_BYTES_MAX + 1)), None);
    assert_eq!(table.of(&format!("{}t.co", "a.".repeat(450_000))), None);
    assert_eq!(last_labels("a.b.c.d", 2), "c.d");
    assert_eq!(last_labels("a.b", 2), "a.b");
    assert_eq!(last_labels("", 3), "");
    assert_eq!(last_labels(".....", 2), ".");
}
