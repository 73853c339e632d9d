//! Compares the referrer table with two public lists of other projects; `fixtures/referrer_judgements.txt`
//! judges each difference.
//!
//! Both lists are copies of Snowplow's list with additional entries.

use std::collections::{BTreeMap, BTreeSet};

use harness::root;
use harness::rules::{List, REFERRERS, SHOP_REFERRERS};
use records::enrich::Enricher;
use schemas::RawClick;
use serde_json::Value;
use uuid::Uuid;

/// The medium of each host of a list, without entries with a path: browsers send none to another site.
type Media = BTreeMap<String, String>;
/// Reads a list's text.
type Reader = fn(&str) -> Media;

fn is_host(name: &str) -> bool {
    let is_package = ["com.", "org."].iter().any(|prefix| name.starts_with(prefix));
    name.contains('.') && !name.contains('/') && !is_package
}

/// `{host: {medium, source}}`
fn by_host(text: &str) -> Media {
    let hosts: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    let hosts = hosts.into_iter().filter(|(host, _)| is_host(host));
    hosts.map(|(host, entry)| (host, entry["medium"].as_str().unwrap().to_owned())).collect()
}

/// `{medium: {source: {domains}}}`
fn by_medium(text: &str) -> Media {
    let media: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(text).unwrap();
    let mut hosts = Media::new();
    for (medium, sources) in media {
        for domain in sources.values().filter_map(|source| source["domains"].as_array()).flatten() {
            let host = domain.as_str().unwrap().to_owned();
            hosts.extend(is_host(&host).then_some((host, medium.clone())));
        }
    }
    hosts
}

/// Maps their media to ours: their social networks include videos and messages, and paid media are
/// `display` here.
fn agree(theirs: &str, ours: &str) -> bool {
    match theirs {
        "social" => ["social", "video", "messaging"].contains(&ours),
        "paid" => ours == "display",
        "unknown" => ours == "referral",
        theirs => theirs == ours,
    }
}

/// A difference and its judgement.
struct Judgement {
    verdict: String,
    difference: String,
    mark: String,
}

impl Judgement {
    fn all() -> Vec<Self> {
        let file = root().join("tests/fixtures/referrer_judgements.txt");
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let judgements = lines.flat_map(|line| {
            let fields: Vec<_> = line.split(" | ").collect();
            let [verdict, difference, marks, reason] = fields[..] else { panic!("{line}") };
            assert!(
                ["ours", "theirs", "arguable"].contains(&verdict) && !reason.is_empty(),
                "{line}"
            );
            marks.split(' ').map(|mark| Self {
                verdict: verdict.to_owned(),
                difference: difference.to_owned(),
                mark: mark.to_owned(),
            })
        });
        judgements.collect()
    }

    fn covers(&self, host: &str, difference: &str) -> bool {
        let below = |name: &str| host == name || host.ends_with(&format!(".{name}"));
        let named = match self.mark.strip_suffix(".*") {
            None => below(&self.mark),
            Some(label) => {
                let labels: Vec<_> = host.split('.').collect();
                (1..=2).any(|ending| {
                    let name = labels.len().saturating_sub(ending);
                    let name = labels[..name].join(".");
                    name == label || name.ends_with(&format!(".{label}"))
                })
            }
        };
        self.difference == difference && named
    }
}

fn medium(enricher: &mut Enricher, host: &str) -> &'static str {
    let referer = format!("https://{host}/");
    let click = RawClick { referer: Some(&referer), ..RawClick::new(Uuid::nil(), 0, "a") };
    enricher.enrich(&click).arrival.medium.as_str()
}

#[test]
fn every_difference_from_two_public_lists_is_judged() {
    let lists: [(List, Reader); 2] = [(REFERRERS, by_host), (SHOP_REFERRERS, by_medium)];
    let judgements = Judgement::all();
    let mut enricher = Enricher::default();
    let (mut unjudged, mut used) = (Vec::new(), BTreeSet::new());
    for (list, read) in lists {
        let hosts = read(&list.text());
        let (mut verdicts, mut agreed) = (BTreeMap::<&str, usize>::new(), 0);
        for (host, theirs) in &hosts {
            let ours = medium(&mut enricher, host);
            if agree(theirs, ours) {
                agreed += 1;
                continue;
            }
            let difference = format!("{theirs} > {ours}");
            let covering = judgements.iter().filter(|own| own.covers(host, &difference));
            match covering.max_by_key(|own| own.mark.len()) {
                Some(own) => {
                    used.insert((&own.mark, &own.difference));
                    *verdicts.entry(&own.verdict).or_default() += 1;
                }
                None => unjudged.push(format!("{host}: {difference}")),
            }
        }
        let all = hosts.len();
        println!("{}: {agreed} of {all} hosts agree; of the others: {verdicts:?}", list.package());
        assert!(all > 1_500 && agreed * 5 >= all * 3, "{agreed} of {all}");
        let theirs = verdicts.get("theirs").copied().unwrap_or_default();
        assert!(theirs * 8 <= all, "{theirs} gaps");
    }
    assert!(unjudged.is_empty(), "not judged:\n{}", unjudged.join("\n"));
    let unused = judgements.iter().filter(|own| !used.contains(&(&own.mark, &own.difference)));
    let unused: Vec<_> = unused.map(|own| &own.mark).collect();
    assert!(unused.is_empty(), "judgements without a difference: {unused:?}");
}
