//! The origins of the visitors of a real log by the rules, printed for a reader.

use std::collections::HashMap;

use harness::access_log;
use records::enrich::Enricher;
use schemas::RawClick;
use uuid::Uuid;

/// The host of the public log.
const DOMAIN: &str = "semicomplete.com";

fn print(what: &str, counts: &HashMap<String, u64>) {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(word, count)| (u64::MAX - **count, (*word).clone()));
    println!("{what}: {}", counts.len());
    for (word, count) in counts.iter().take(40) {
        println!("  {count:>6} {}", if word.is_empty() { "(none)" } else { word });
    }
}

#[test]
fn visitors_of_a_real_log_get_the_channels_of_their_referrers() {
    let scratch = tempfile::tempdir().unwrap();
    let sample = access_log(scratch.path());
    let text = std::fs::read_to_string(&sample.file).unwrap();
    let mut enricher = Enricher::default();
    let mut tables: [HashMap<String, u64>; 4] = Default::default();
    let mut lines = 0;
    for line in text.lines() {
        let quoted: Vec<_> = line.split('"').collect();
        let [_, request, _, referer, _, agent, ..] = quoted[..] else { continue };
        let path = request.split(' ').nth(1).unwrap_or_default();
        let click = RawClick {
            domain: Some(DOMAIN),
            query: path.split_once('?').map(|(_, query)| query),
            referer: Some(referer).filter(|referer| *referer != "-"),
            user_agent: Some(agent),
            ..RawClick::new(Uuid::nil(), 0, "a")
        };
        let came = enricher.enrich(&click).arrival;
        let words = [came.source, came.medium.as_str(), came.channel.as_str(), came.in_app];
        for (table, word) in tables.iter_mut().zip(words) {
            *table.entry(word.to_owned()).or_default() += 1;
        }
        lines += 1;
    }
    for (what, table) in ["sources", "media", "channels", "apps"].into_iter().zip(&tables) {
        print(what, table);
    }
    assert!(lines >= sample.clicks, "{lines}");
    if sample.file.ends_with("apache_logs") {
        let [sources, media, channels, _] = &tables;
        // Counted in the log: by the hosts of referrers; of the 4,073 lines without one, 156 have a
        // source in the visited address and 9 have the agent of an in-app browser.
        assert_eq!(media["direct"], 4_073 - 156 - 9);
        assert_eq!(channels["internal"], 3_038 + 2_001);
        assert!(sources["Google"] >= 570, "{}", sources["Google"]);
        assert_eq!(sources["X"], 3);
    }
}
