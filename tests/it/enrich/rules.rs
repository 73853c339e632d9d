//! The results of the rules, compared with independent lists, and the replacement of rule tables under
//! load.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::rules::{folder, pinned, source_of};
use harness::{World, access_log, metric, root, until};
use records::enrich::Enricher;
use records::enrich::rule_set::{RuleSet, RuleTable};
use records::enrich::user_agent::Agent;
use schemas::{Encoder, Method, RawClick};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<BTreeMap<String, Option<String>>>,
}

fn cases(name: &str) -> Vec<BTreeMap<String, Option<String>>> {
    let path = source_of("ua-parser").join("uap-core/tests").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str::<Cases>(&text).unwrap().test_cases
}

/// The value of our column if the rules know nothing.
fn ours(word: &str) -> &str {
    let unknown = ["Other", "Generic", "Generic_Android", "Generic_Android_Tablet"];
    if unknown.contains(&word) { "" } else { word }
}

#[test]
fn every_test_of_uap_core_passes_in_our_columns() {
    let rules = pinned();
    let mut wrong = String::new();
    let mut counts = [0; 3];
    for (number, file) in ["test_ua.yaml", "test_os.yaml", "test_device.yaml"].iter().enumerate() {
        for case in cases(file) {
            let text = |name: &str| case.get(name).cloned().flatten().unwrap_or_default();
            let version = |names: [&str; 4]| {
                let parts: Vec<_> =
                    names.map(text).into_iter().take_while(|part| !part.is_empty()).collect();
                parts.join(".")
            };
            let agent = Agent::of(&text("user_agent_string"), &rules);
            let (found, expected) = match number {
                0 => (
                    vec![agent.browser, agent.browser_version],
                    vec![
                        ours(&text("family")).to_owned(),
                        version(["major", "minor", "patch", "patch_minor"]),
                    ],
                ),
                1 => (
                    vec![agent.os, agent.os_version],
                    vec![
                        ours(&text("family")).to_owned(),
                        version(["major", "minor", "patch", "patch_minor"]),
                    ],
                ),
                _ => {
                    let brand = ours(&text("brand")).to_owned();
                    // A bot has no brand in our columns: its device is `bot`.
                    let brand = if brand == "Spider" { String::new() } else { brand };
                    let model = if brand.is_empty() { String::new() } else { text("model") };
                    (
                        vec![agent.device_brand, agent.device_model],
                        vec![brand, ours(&model).to_owned()],
                    )
                }
            };
            match found == expected {
                true => counts[number] += 1,
                false => writeln!(
                    wrong,
                    "{file}: {:?}: {found:?}, not {expected:?}",
                    text("user_agent_string")
                )
                .unwrap(),
            }
        }
    }
    println!(
        "uap-core: {} browsers, {} systems, {} devices as its tests say",
        counts[0], counts[1], counts[2]
    );
    assert!(wrong.is_empty(), "{wrong}");
    assert!(counts[0] > 1_000 && counts[1] > 400 && counts[2] > 10_000, "{counts:?}");
}

/// Counts, the most frequent first.
fn top(what: &str, counts: HashMap<String, u64>) {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    println!("{what}: {} values, {total} clicks", counts.len());
    for (word, count) in counts.iter().take(20) {
        println!("  {count:>6} {}", if word.is_empty() { "(unknown)" } else { word });
    }
}

#[test]
fn a_real_log_is_classified_and_displayed() {
    let scratch = tempfile::tempdir().unwrap();
    let sample = access_log(scratch.path());
    let text = std::fs::read_to_string(&sample.file).unwrap();
    let mut enricher = Enricher::new(pinned());
    let mut tables: [HashMap<String, u64>; 7] = Default::default();
    for line in text.lines() {
        let Some(ip) = line.split(' ').next().and_then(|ip| ip.parse::<std::net::Ipv4Addr>().ok())
        else {
            continue;
        };
        let quoted: Vec<_> = line.split('"').collect();
        let octets = ip.octets();
        let click = RawClick {
            client_ip: Some(&octets),
            user_agent: quoted.get(5).copied().filter(|agent| *agent != "-"),
            method: if quoted[1].starts_with("HEAD") { Method::Head } else { Method::Get },
            ..RawClick::new(Uuid::nil(), 0, "a")
        };
        let row = enricher.enrich(&click);
        let words = [
            row.country.to_owned(),
            row.continent.to_owned(),
            format!("{} {}", row.agent.browser, row.agent.browser_major),
            format!("{} {}", row.agent.os, row.agent.os_version),
            row.agent.device.to_owned(),
            row.bot.as_str().to_owned(),
            row.agent.bot_name.clone(),
        ];
        for (table, word) in tables.iter_mut().zip(words) {
            *table.entry(word).or_default() += 1;
        }
    }
    let clicks: u64 = tables[0].values().sum();
    assert!(clicks >= sample.clicks, "{clicks}");
    let known = |table: &HashMap<String, u64>| clicks - table.get("").copied().unwrap_or(0);
    let public = sample.file.ends_with("apache_logs");
    if public {
        assert!(known(&tables[0]) * 100 >= clicks * 99, "countries: {}", known(&tables[0]));
        assert!(known(&tables[5]) * 10 >= clicks, "a log of that time is full of machines");
    }
    let names =
        ["countries", "continents", "browsers", "systems", "devices", "bot classes", "bots"];
    names.into_iter().zip(tables).for_each(|(name, table)| top(name, table));
}

/// Clicks from addresses of some countries by some agents.
fn clicks(world: &World, count: u32) -> Vec<harness::Raw> {
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ];
    let encoder = Encoder::new(world.schema_id());
    let now = jiff::Timestamp::now().as_microsecond();
    let click = |number: u32| {
        let ip = [8, 8, number.to_be_bytes()[2], number.to_be_bytes()[3]];
        let click = RawClick {
            client_ip: Some(&ip),
            user_agent: Some(AGENTS[number as usize % AGENTS.len()]),
            ..RawClick::new(Uuid::now_v7(), now, "ruled")
        };
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        harness::Raw {
            partition: i32::try_from(number % 3).unwrap(),
            value: Some(value),
            ..harness::Raw::default()
        }
    };
    (0..count).map(click).collect()
}

fn put(bytes: &[u8], table: RuleTable, into: &Path) {
    let new = into.join("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, into.join(table.file())).unwrap();
}

#[test]
fn rule_tables_are_replaced_under_load_and_every_batch_uses_one_rule_set() {
    let world = World::new("rules");
    world.setup();
    world.query("SYSTEM STOP MERGES click_versions");
    let rules = world.folder().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let read = |table: RuleTable| std::fs::read(folder().join(table.file())).unwrap();
    for table in RuleTable::ALL.into_iter().filter(|table| !table.is_built_in()) {
        put(&read(table), table, &rules);
    }
    let set = [("CLICKTRAIL_RULES", rules.to_str().unwrap()), ("CLICKTRAIL_BATCH_ROWS", "3000")];
    let mut processors = world.processors(&[], &set);
    let health = |processors: &harness::Processors| {
        harness::get(&format!("{}/readyz", processors.admin)).unwrap().body
    };
    assert_eq!(health(&processors), "ready\n");

    // Smaller complete tables, and a truncated one.
    let crawlers = br#"[{"pattern": "Googlebot\\/", "tags": ["monitoring"]}]"#.to_vec();
    let agents = String::from_utf8(read(RuleTable::UserAgents)).unwrap() + "\n# another version\n";
    let cut = read(RuleTable::Geo)[..4_000_000].to_vec();
    let mut changes = [
        (RuleTable::Crawlers, crawlers),
        (RuleTable::Geo, cut),
        (RuleTable::UserAgents, agents.into_bytes()),
    ]
    .into_iter();
    let versions = "concat(geo_db_build, ' | ', ua_rules_version, ' | ', bot_rules_version)";
    let (mut sent, mut longest) = (0, Duration::ZERO);
    let began = Instant::now();
    let (mut moved, mut rows) = (Instant::now(), 0);
    let mut change_at = Duration::from_secs(1);
    while began.elapsed() < Duration::from_secs(13) {
        world.kafka.produce(&world.topic, &clicks(&world, 2_000));
        sent += 2_000;
        if began.elapsed() >= change_at
            && let Some((table, bytes)) = changes.next()
        {
            put(&bytes, table, &rules);
            // A file is read within two seconds.
            change_at += Duration::from_secs(3);
        }
        let now = world.clicks();
        if now > rows {
            longest = longest.max(moved.elapsed());
            (moved, rows) = (Instant::now(), now);
        }
    }
    assert!(changes.next().is_none());
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), sent);

    let mixed = world.query(&format!(
        "SELECT _part, groupUniqArray({versions}) AS found FROM click_versions GROUP BY _part HAVING length(found) > 1"
    ));
    assert_eq!(mixed, "", "parts with more than one rule set");
    let parts = world.number("SELECT uniqExact(_part) FROM click_versions");
    let made = world.query(&format!(
        "SELECT {versions} AS found, count(), uniqExact(_part) FROM click_versions GROUP BY found ORDER BY min(logged_at), min(kafka_offset)"
    ));
    println!("{sent} clicks, {parts} parts, no row for at most {longest:?}\n{made}");
    assert_eq!(made.lines().count(), 3, "{made}");
    let geo = world.number("SELECT uniqExact(geo_db_build) FROM clicks WHERE country = 'US'");
    assert_eq!(geo, 1, "a truncated table is never used");
    let classes = world.query(
        "SELECT DISTINCT bot_class FROM clicks WHERE user_agent LIKE '%Googlebot%' ORDER BY bot_class",
    );
    assert_eq!(classes, "declared_crawler\nmonitor", "old rows keep their rule versions");

    let refused = "clicktrail_processors_rules_refused_total{table=\"geo\"}";
    assert_eq!(metric(&processors.admin, refused), Some(1.0));
    let body = health(&processors);
    let problem = format!("degraded: rules_refused: {}: ", rules.join("geo.mmdb").display());
    assert!(body.contains(&problem), "{body}");
    assert!(longest < Duration::from_secs(5), "a pause of {longest:?}");

    // A fixed file takes effect without a restart, too.
    put(&read(RuleTable::Geo), RuleTable::Geo, &rules);
    until("the fixed file is used", || (health(&processors) == "ready\n").then_some(()));
    // Its copy is of today, and its data is not.
    let built = "clicktrail_processors_rules_built_timestamp_seconds{table=\"geo\"}";
    let stated = pinned().built_at(RuleTable::Geo).map(|seconds| seconds as f64);
    assert!(stated.is_some_and(|seconds| seconds > 1.7e9), "{stated:?}");
    assert_eq!(metric(&processors.admin, built), stated);
}

#[test]
fn nested_and_flat_geo_files_give_the_same_place_for_ipv4_and_ipv6() {
    let place = |file: &str, address: &str, edge: Option<&str>| {
        let bytes = std::fs::read(root().join("tests/fixtures/geo").join(file)).unwrap();
        let rules = RuleSet::default().with(RuleTable::Geo, bytes).unwrap();
        let octets = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let click = RawClick {
            client_ip: Some(&octets),
            edge_country: edge,
            ..RawClick::new(Uuid::nil(), 0, "a")
        };
        let mut enricher = Enricher::new(std::sync::Arc::new(rules));
        // First from the file, then from the cache.
        std::hint::black_box(enricher.enrich(&click));
        let row = enricher.enrich(&click);
        [row.continent, row.country, &row.location.region, &row.location.city].join(" ")
    };
    let cases = [
        ("nested.mmdb", "81.2.69.142", None, "EU GB GB-ENG London"),
        ("nested.mmdb", "::ffff:81.2.69.142", None, "EU GB GB-ENG London"),
        ("nested.mmdb", "2a02:cf40::1", None, "EU GB GB-ENG London"),
        ("nested.mmdb", "89.160.20.112", None, "EU SE  "),
        ("nested.mmdb", "175.16.199.1", None, "   "),
        ("nested.mmdb", "8.8.8.8", None, "   "),
        ("nested.mmdb", "8.8.8.8", Some("DE"), "EU DE  "),
        ("nested.mmdb", "8.8.8.8", Some("XX"), "   "),
        ("nested.mmdb", "89.160.20.112", Some("DE"), "EU SE  "),
        ("flat-v4.mmdb", "81.2.69.142", None, "EU GB England London"),
        ("flat-v4.mmdb", "::ffff:81.2.69.142", None, "EU GB England London"),
        ("flat-v4.mmdb", "2a02:cf40::1", None, "   "),
    ];
    for (file, address, edge, expected) in cases {
        assert_eq!(place(file, address, edge), expected, "{file} {address} {edge:?}");
    }
    let whole = std::fs::read(root().join("tests/fixtures/geo/nested.mmdb")).unwrap();
    let refused = (0..whole.len())
        .step_by(7)
        .filter(|cut| RuleSet::default().with(RuleTable::Geo, whole[..*cut].to_vec()).is_err());
    assert_eq!(refused.count(), whole.len().div_ceil(7), "a truncated file is refused");
}

/// Both times are the shortest of three, so that load on the machine cannot turn the comparison.
#[test]
fn ten_thousand_addresses_are_located_in_less_time_than_one_scan_of_the_geo_file() {
    let bytes = std::fs::read(folder().join(RuleTable::Geo.file())).unwrap();
    let (mut scan, mut lookups) = (Duration::MAX, Duration::MAX);
    for round in 0..3_u32 {
        let bytes = bytes.clone();
        let began = Instant::now();
        // Reads every network of the file.
        let rules = RuleSet::default().with(RuleTable::Geo, bytes).unwrap();
        scan = scan.min(began.elapsed());
        let mut enricher = Enricher::new(std::sync::Arc::new(rules));
        let began = Instant::now();
        let mut found = 0_u32;
        for number in 10_000 * round..10_000 * (round + 1) {
            let octets = number.wrapping_mul(2_654_435_761).to_be_bytes();
            let click = RawClick { client_ip: Some(&octets), ..RawClick::new(Uuid::nil(), 0, "a") };
            found += u32::from(!enricher.enrich(&click).country.is_empty());
        }
        lookups = lookups.min(began.elapsed());
        assert!(found > 3_000, "{found}");
    }
    println!("10,000 addresses are located in {lookups:?}, the file is scanned in {scan:?}");
    assert!(lookups < scan, "{lookups:?}, {scan:?}");
}
