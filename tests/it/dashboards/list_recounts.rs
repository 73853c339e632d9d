//! The lists of the dashboards against the same lists counted in Rust.

use dashboards::View;
use harness::World;
use serde_json::Value;

use crate::dashboards::counted_rows::{CountedRow, TEXTS, counted, visitors};
use crate::dashboards::recounts::{Counted, integer, is_near, seconds, share};

/// A title, the filters whose values are combined, and the condition on a click.
type List<'l> = (&'l str, &'l [&'static str], &'l dyn Fn(&CountedRow) -> bool);

/// Each list has its most frequent values, with their counts.
fn lists(all: &Counted<'_>, view: &View, now: &[&CountedRow]) {
    let has_campaign = |row: &CountedRow| {
        ["utm_source", "utm_medium", "utm_campaign"]
            .iter()
            .any(|column| !row.texts[column].is_empty())
    };
    let lists: [List<'_>; 11] = [
        ("Sources", &["source"], &|_| true),
        ("Channels", &["channel"], &|_| true),
        ("Referrers", &["referrer"], &|_| true),
        ("Countries", &["country"], &|_| true),
        ("Devices", &["device"], &|_| true),
        ("Browsers", &["browser"], &|_| true),
        ("Systems", &["os"], &|_| true),
        ("Languages", &["language"], &|_| true),
        ("Cities", &["city", "country"], &|_| true),
        ("Campaigns", &["utm_source", "utm_medium", "campaign"], &has_campaign),
        ("Unknown slugs", &["domain", "link"], &|row| row.texts["outcome"] == "not_found"),
    ];
    for (title, names, is_listed) in lists {
        let listed: Vec<_> = now.iter().copied().filter(|row| is_listed(row)).collect();
        let labels =
            |row: &CountedRow| names.iter().map(|name| row.label(name)).collect::<Vec<_>>();
        let expected = counted(&listed, labels);
        let mut most: Vec<_> = expected.values().copied().collect();
        most.sort_by_key(|count| std::cmp::Reverse(*count));
        let answer = all.ask(title, view);
        assert!(answer.len() >= expected.len().min(10), "{title}: {answer:?}");
        for (row, most) in answer.iter().zip(most) {
            let texts: Vec<_> = row[..names.len()].iter().map(|it| it.as_str().unwrap()).collect();
            let own = expected[&texts];
            assert_eq!(
                (integer(&row[names.len()]), own),
                (i64::try_from(own).unwrap(), most),
                "{title}: {texts:?}"
            );
        }
    }
}

/// The newest clicks: those of the last hour, and with a filter those of a longer time.
fn newest(all: &Counted<'_>, view: &View, now: &[&CountedRow]) {
    let country = now[0].label("country");
    for (filter, is_shown) in [("", true), (country, false)] {
        let mut expected: Vec<_> =
            now.iter().filter(|row| is_shown || row.label("country") == filter).collect();
        expected.sort_by_key(|row| std::cmp::Reverse(row.at_us));
        let answer = all.ask("Newest clicks", &view.with("country", filter));
        assert_eq!(answer.len(), 50, "{filter}");
        for (row, own) in answer.iter().zip(expected) {
            let own = (own.at_us / 1_000_000, own.label("domain"), own.label("link"));
            assert_eq!((seconds(&row[0]), row[1].as_str().unwrap(), row[2].as_str().unwrap()), own);
        }
    }
}

#[test]
fn each_list_shows_the_counts_of_its_values_and_the_filter_bar_what_is_set() {
    let world = World::new("recount_lists");
    let (counted_rows, range, view) = Counted::of_filters(&world);
    let rows: Vec<_> = counted_rows.rows.iter().collect();
    let now = range.of(&rows);
    lists(&counted_rows, &view, &now);
    newest(&counted_rows, &view, &now);
    // Links are counted by domain and path, without the clicks on no link.
    let on_links: Vec<_> = now.iter().copied().filter(|row| !row.link_id.is_empty()).collect();
    let links = counted(&on_links, |row| (row.label("domain"), row.label("link")));
    let answer = counted_rows.ask("Top links", &view);
    assert_eq!(answer.len(), 20);
    for row in answer {
        let key = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let own: Vec<_> = on_links
            .iter()
            .copied()
            .filter(|row| (row.label("domain"), row.label("link")) == key)
            .collect();
        assert_eq!(integer(&row[2]), i64::try_from(links[&key]).unwrap(), "{key:?}");
        assert_eq!(integer(&row[3]), i64::try_from(visitors(&own)).unwrap(), "{key:?}");
        assert!(is_near(&row[4], Some(share(own.len(), on_links.len()))), "{key:?}");
    }
    // The filter bar has a row for each filter that is set, and what its link keeps.
    assert_eq!(counted_rows.ask("Filters", &view), Vec::<Vec<Value>>::new());
    for text in TEXTS.into_iter().filter(|text| !text.is_empty()) {
        let set = view.with("link", text).with("country", "DE");
        let bar = counted_rows.ask("Filters", &set);
        let link = bar.iter().find(|row| row[0] == "Link").expect("a row of the link");
        assert_eq!((bar.len(), &link[1]), (2, &text.into()));
        let kept: Vec<_> =
            link[2].as_str().unwrap().split('&').filter(|it| !it.ends_with('=')).collect();
        assert_eq!(kept, ["var-country=DE"], "{text}");
    }
}
