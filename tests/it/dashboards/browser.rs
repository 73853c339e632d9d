//! The dashboards in a real browser, over real parts: what a person sees and clicks.

use std::collections::BTreeMap;

use harness::{
    Child, DividedAlerts, OwnPreview, Processors, Raw, Server, World, free_port, rules, until,
};
use serde_json::json;

use crate::dashboards::browsed_clicks::{BEGIN, END, HOSTILE, SLUGS, load};
use crate::dashboards::viewer::{Answer, LAPTOP, PHONE, Question, Shown, Viewer, asked_again};

const OVERVIEW: &str = "clicktrail-overview";
const LINK: &str = "clicktrail-link";
const BOTS: &str = "clicktrail-bots";
const PIPELINE: &str = "clicktrail-pipeline";
const ALERTS: &str = "clicktrail-alerts";
/// The last minutes. The audit of the test replaces its verdict of this minute each second.
const NOW: [(&str, &str); 2] = [("from", "now-5m"), ("to", "now+1m")];
/// The dashboards, and the parameters that they need.
const PAGES: [(&str, &[(&str, &str)]); 5] = [
    (OVERVIEW, &[]),
    (LINK, &[("var-link", "spring")]),
    (BOTS, &[]),
    (PIPELINE, &NOW),
    (ALERTS, &NOW),
];
/// Panels of events that did not happen; each displays a text that says so.
const WITHOUT_EVENTS: [&str; 14] = [
    "Filters",
    "Floods in the last hour",
    "Limits",
    "Lost clicks",
    "Oldest waiting click",
    "Retries",
    "Parts",
    "Free disk",
    "Replays",
    "Replay progress",
    "Jobs",
    "Link records",
    "Dead letters held",
    "New dead letters",
];
/// The choices with which a panel shows each click, and no change.
const ALL_UNCOMPARED: [(&str, &str); 2] = [("var-traffic", "all"), ("var-compare", "none")];
/// Filters, of which the filter bar has one in each line.
const FILTERS: [&str; 4] = ["var-link", "var-source", "var-campaign", "var-target"];
/// The scripts of the page itself: its own file, and the path of its icons.
const SCRIPTS: usize = 2;
/// Panels that say how the data is, or what is filtered, and not what the filtered clicks are.
const UNFILTERED: [&str; 1] = ["Filters"];

/// Opens a dashboard on the week of the clicks, if the parameters have no range.
fn open(viewer: &mut Viewer, uid: &str, parameters: &[(&str, &str)]) {
    on_the_week(parameters, |parameters| viewer.open(uid, parameters));
}

/// The same by a link of the page, which does not load again.
fn follow(viewer: &mut Viewer, uid: &str, parameters: &[(&str, &str)]) {
    on_the_week(parameters, |parameters| viewer.follow(uid, parameters));
}

fn on_the_week(parameters: &[(&str, &str)], act: impl FnOnce(&[(&str, &str)])) {
    let [from, to] = [BEGIN, END].map(|second| (second * 1_000).to_string());
    let range = [("from", from.as_str()), ("to", &to)];
    let own = parameters.iter().any(|(name, _)| *name == "from");
    act(&[if own { &[][..] } else { &range[..] }, parameters].concat());
}

/// The rows of answers without those of some panels, and without those that depend on the time of the question.
fn compared(
    viewer: &mut Viewer,
    answers: BTreeMap<Question, Answer>,
) -> BTreeMap<Question, Vec<String>> {
    let panels = viewer.panels();
    let is_compared = |id: u64| {
        let panel = panels.iter().find(|panel| panel.id == id);
        panel.is_some_and(|panel| !UNFILTERED.contains(&panel.title.as_str()))
    };
    let kept = answers.into_iter().filter(|((id, _), _)| is_compared(*id));
    kept.map(|(question, answer)| (question, answer.rows)).collect()
}

/// Fails if two sets of rows differ, with the title of each panel that does.
fn same(
    viewer: &mut Viewer,
    what: &str,
    left: &BTreeMap<Question, Vec<String>>,
    right: &BTreeMap<Question, Vec<String>>,
) {
    let panels = viewer.panels();
    let title = |id: u64| {
        panels.iter().find(|panel| panel.id == id).map_or("?", |panel| panel.title.as_str())
    };
    assert!(left.len() > 10, "{what}: only {} queries", left.len());
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{what}");
    let wrong: Vec<_> = left
        .iter()
        .filter(|(question, rows)| right[*question] != **rows)
        .map(|(question, rows)| {
            let of = |rows: &[String]| rows.iter().take(5).cloned().collect::<Vec<_>>().join(" ");
            let title = title(question.0);
            format!("{title} {}: {} | {}", question.1, of(rows), of(&right[question]))
        })
        .collect();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// A link that sets a variable to a value, anywhere in the page.
fn link(variable: &str, value: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-panel] a[href]')].find((link) => \
         new URL(link.href, location.href).searchParams.get('var-{variable}') === {})",
        json!(value)
    )
}

#[test]
fn a_click_filters_every_panel_and_no_value_breaks_out_of_a_query_or_the_page() {
    let world = World::new("browser");
    world.setup();
    load(&world);
    // The clicks of one country, as if there were no others.
    let of_country = World::new("browser_country");
    of_country.setup();
    for (table, condition) in [("click_versions", "country = 'DE'"), ("link_versions", "1")] {
        let (from, to) = (&world.database, &of_country.database);
        of_country.query(&format!(
            "INSERT INTO {to}.{table} SELECT * FROM {from}.{table} WHERE {condition}"
        ));
    }
    let preview = OwnPreview::start(&world, None);
    let other = OwnPreview::start(&of_country, None);
    let mut viewer = Viewer::start(&preview.url);

    open(&mut viewer, OVERVIEW, &[]);
    let answers = viewer.answers();
    let everywhere = compared(&mut viewer, answers);
    viewer.click(&link("country", "DE"));
    assert_eq!(viewer.parameter("var-country").as_deref(), Some("DE"));
    let answers = viewer.answers();
    let again = asked_again(&other.url, &answers, ("country", ""));
    let (filtered, expected) = (compared(&mut viewer, answers), compared(&mut viewer, again));
    same(
        &mut viewer,
        "the panels with the filter, and those of a table of these clicks",
        &filtered,
        &expected,
    );
    let unchanged = filtered.iter().filter(|(question, rows)| everywhere[*question] == **rows);
    let unchanged: Vec<_> = unchanged.map(|(question, _)| question.clone()).collect();
    assert!(unchanged.len() < filtered.len() / 4, "{unchanged:?}");
    let bar = viewer.panel_with("Filters", "DE");
    viewer.no_errors("a filter by country");

    // A file has what its panel shows.
    let links = viewer.panel("Top links");
    let csv = viewer.csv(&links);
    for row in viewer.rows(&links) {
        let row: Vec<serde_json::Value> = serde_json::from_str(row).unwrap();
        let slug = row.iter().find_map(serde_json::Value::as_str).unwrap().replace('"', "\"\"");
        assert!(csv.contains(&slug), "{slug} in {csv}");
    }
    viewer.no_errors("a file");

    // The history of the browser, and the filter bar's own link.
    viewer.go(-1);
    assert_eq!(viewer.parameter("var-country"), None);
    let back = viewer.answers();
    let back = compared(&mut viewer, back);
    same(&mut viewer, "after a step back", &back, &everywhere);
    viewer.go(1);
    assert_eq!(viewer.parameter("var-country").as_deref(), Some("DE"));
    let remove = format!(
        "[...document.querySelectorAll('[data-panel=\"{}\"] a[href]')].find((link) => \
         link.textContent.trim() === 'DE')",
        bar.id
    );
    viewer.click(&remove);
    assert_eq!(viewer.parameter("var-country"), None);
    let removed = viewer.answers();
    let removed = compared(&mut viewer, removed);
    same(&mut viewer, "after the filter was removed", &removed, &everywhere);

    hostile_texts(&world, &mut viewer);
    long_day(&mut viewer);
    // An address that is not encoded as one is.
    viewer.browser.open(&format!("{}/d/%", preview.url));
    let message = "document.body.innerText.includes('no dashboard has this uid')";
    viewer.browser.until("a message", message);
}

/// The day on which summer time ends has 25 hours, each once.
fn long_day(viewer: &mut Viewer) {
    let begin = END - 25 * 3_600;
    let [from, to] = [begin, END].map(|second| (second * 1_000).to_string());
    viewer.open(OVERVIEW, &[("from", &from), ("to", &to), ("var-compare", "year")]);
    let lines = viewer.panel("Clicks over time");
    let time = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let time = row[0].as_str().and_then(|time| time.parse::<i64>().ok());
        time.unwrap_or_else(|| panic!("no time: {row}"))
    };
    let times: Vec<_> = viewer.rows(&lines).iter().map(time).collect();
    let step = times[1] - times[0];
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step), "{times:?}");
    assert_eq!((times[0], times[times.len() - 1] + step), (begin, END), "steps of {step} s");
    // A year ago there was no click.
    viewer.panel_with("Countries", "new");
    viewer.no_errors("the day of 25 hours");
}

/// Texts of visitors as filters: a click on one selects its clicks, all are displayed as they are, and nothing executes. Which
/// clicks each of them selects, `deploy::dashboards` checks.
fn hostile_texts(world: &World, viewer: &mut Viewer) {
    // Two names that every object of the page's language has.
    let unknown = [("var-__proto__", "x"), ("var-constructor", "x")];
    open(viewer, OVERVIEW, &[&ALL_UNCOMPARED[..], &unknown].concat());
    viewer.click(&link("link", HOSTILE));
    assert_eq!(viewer.parameter("var-link").as_deref(), Some(HOSTILE));
    viewer.panel_with("Filters", HOSTILE);
    let hex: String = HOSTILE.bytes().map(|byte| format!("{byte:02X}")).collect();
    let expected = world.number(&format!(
        "SELECT count() FROM clicks WHERE slug = unhex('{hex}') \
         AND occurred_at >= toDateTime({BEGIN}) AND occurred_at < toDateTime({END})"
    ));
    let totals = viewer.panel("Totals");
    let is_expected =
        |row: &String| row.split([',', '[', ']']).any(|it| it == expected.to_string());
    let rows = viewer.rows(&totals);
    assert!(expected > 0 && rows.iter().any(is_expected), "{expected} in {rows:?}");
    // Nothing is compared: the change of a figure from itself would be `0%`.
    assert!(totals.text.lines().all(|line| line.trim() != "0%"), "{}", totals.text);
    // Each text in a filter of its own, as many at a time as the filter bar has lines.
    for texts in SLUGS.chunks(FILTERS.len()) {
        let set: Vec<_> = FILTERS.into_iter().zip(texts.iter().copied()).collect();
        follow(viewer, OVERVIEW, &[&ALL_UNCOMPARED[..], &set].concat());
        are_set(viewer, &set);
    }
    let scripts = viewer.browser.evaluate("document.scripts.length");
    assert_eq!(scripts, SCRIPTS, "a text became a script");
}

/// Each query has these filters, the filter bar displays each with a link that keeps the others, and no panel fails.
fn are_set(viewer: &mut Viewer, set: &[(&str, &str)]) {
    let answers = viewer.answers();
    assert!(answers.len() > 10, "{set:?}: {answers:?}");
    let bar = viewer.panel("Filters");
    let links = format!(
        "[...document.querySelectorAll('[data-panel=\"{}\"] a[href]')].map((link) => \
         Object.fromEntries(new URL(link.href, location.href).searchParams))",
        bar.id
    );
    for (name, text) in set {
        viewer.panel_with("Filters", text);
        let variable = name.trim_start_matches("var-");
        let has = |answer: &Answer| answer.request["values"][variable] == json!([text]);
        assert!(answers.values().all(has), "{name} {text}: {answers:?}");
        let links = viewer.browser.evaluate(&links);
        let keeps = |link: &serde_json::Value| {
            let kept = |&(other, own): &(&str, &str)| {
                let expected = if other == *name { "" } else { own };
                link[other] == expected
            };
            set.iter().all(kept)
        };
        let links = links.as_array().expect("a list");
        assert!(links.iter().any(keeps), "a link removes {text}: {links:?}");
    }
    let errors: Vec<_> = viewer.panels().into_iter().filter(|it| it.state == "error").collect();
    assert!(errors.is_empty(), "{set:?}: {errors:?}");
    viewer.no_errors("texts of visitors");
}

/// All processes of a pipeline, and a Prometheus that reads them.
struct Pipeline {
    _server: Server,
    _processors: Processors,
    _audit: Child,
    alerts: DividedAlerts,
}

/// Starts them; sends visits, and a record that no rule can decode.
fn pipeline(world: &World) -> Pipeline {
    let server = world.serve(r#"{"slug":"spring","url":"https://shop.example/sale"}"#, &[]);
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[vec![bad], world.good(0, 100)].concat());
    let folder = rules::folder();
    let set = [("CLICKTRAIL_RULES", folder.to_str().expect("a path of text"))];
    let processors = world.processors(&[], &set);
    let port = free_port();
    let mut command = world.command("processors", &[("CLICKTRAIL_GROUP", &world.group)]);
    command.args(["audit", "--follow", "--every", "1s", "--admin-listen", &port.to_string()]);
    let audit = world.start(command);
    let audit_admin = format!("http://{port}");
    let targets = [
        ("producer", server.admin.as_str()),
        ("processors", processors.admin.as_str()),
        ("audit", audit_admin.as_str()),
    ];
    let alerts = DividedAlerts::start(&targets, &["dead_letters.yml".to_owned()]);
    let path = |number: usize| if number.is_multiple_of(4) { "/none" } else { "/spring" };
    let mut number = 0;
    until("rates of all three processes", || {
        server.get(path(number), &[]);
        number += 1;
        let rate = |name: &str| {
            let query = format!("sum(rate({name}[1m])) > 0");
            let found = alerts.api("query", &[("query", &query)]);
            found["result"].as_array().is_some_and(|series| !series.is_empty())
        };
        let names = [
            "clicktrail_producer_request_seconds_count",
            "clicktrail_producer_delivery_seconds_count",
            "clicktrail_processors_insert_seconds_count",
            "clicktrail_audit_runs_total",
        ];
        names.into_iter().all(rate).then_some(())
    });
    until("an alert", || {
        let firing = alerts.api("query", &[("query", "ALERTS{alertstate=\"firing\"}")]);
        firing["result"].as_array().is_some_and(|alerts| !alerts.is_empty()).then_some(())
    });
    until("a verdict", || {
        (world.number("SELECT count() FROM audit_verdicts WHERE state = 'balanced'") > 0)
            .then_some(())
    });
    Pipeline { _server: server, _processors: processors, _audit: audit, alerts }
}

#[test]
fn every_dashboard_shows_data_in_each_panel_and_fits_a_phone() {
    let world = World::new("browser_all");
    world.setup();
    load(&world);
    let pipeline = pipeline(&world);
    let preview = OwnPreview::start(&world, Some(pipeline.alerts.prometheus()));
    let mut viewer = Viewer::start(&preview.url);
    for (uid, parameters) in PAGES {
        viewer.browser.show_on(LAPTOP);
        open(&mut viewer, uid, parameters);
        let is_empty_for_a_reason = |panel: &Shown| {
            panel.state == "empty" && WITHOUT_EVENTS.contains(&panel.title.as_str())
        };
        let without: Vec<_> = viewer
            .panels()
            .into_iter()
            .filter(|panel| panel.state != "data" && !is_empty_for_a_reason(panel))
            .map(|panel| format!("{} {}: {} {}", panel.kind, panel.title, panel.state, panel.text))
            .collect();
        assert!(without.is_empty(), "panels of {uid} without data:\n{}", without.join("\n"));
        viewer.no_errors(uid);
        match uid {
            OVERVIEW => assert_eq!(viewer.browser.evaluate(HOUR_BELOW_ITS_CELL), true),
            ALERTS => drop(viewer.panel_with("Alerts that fire or wait", "DeadLettersOpen")),
            _ => {}
        }
        viewer.turn_to(PHONE);
        let wide = viewer.browser.evaluate(TOO_WIDE);
        assert!(wide.as_array().is_some_and(Vec::is_empty), "{uid} on a phone: {wide:#}");
    }
}

/// Whether the heat map has the number 0 below the cells of the hour 0.
const HOUR_BELOW_ITS_CELL: &str = "(() => {
    const panel = document.querySelector('[data-type=heatmap]');
    const label = [...panel.querySelectorAll('text')].find((text) => text.textContent === '0').getBoundingClientRect();
    const cell = panel.querySelector('g rect').getBoundingClientRect();
    return cell.left < label.left && label.right < cell.right && label.top > cell.bottom;
})()";

/// What is wider than the screen or its panel, and not cut with an ellipsis.
const TOO_WIDE: &str = "(() => {
    const wide = [];
    if (document.documentElement.scrollWidth > innerWidth) wide.push('the page: ' + document.documentElement.scrollWidth);
    for (const panel of document.querySelectorAll('[data-panel]')) {
        const frame = panel.getBoundingClientRect();
        const name = panel.getAttribute('aria-label');
        if (frame.left < 0 || frame.right > innerWidth + 1) wide.push('the panel ' + name);
        for (const element of panel.querySelectorAll('*')) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            if (!own) continue;
            const box = element.getBoundingClientRect();
            let cut = false;
            for (let at = element; at !== panel.parentElement; at = at.parentElement) {
                cut ||= getComputedStyle(at).overflowX !== 'visible';
            }
            if (!cut && box.width && (box.right > frame.right + 1 || box.left < frame.left - 1)) {
                wide.push(name + ': ' + element.textContent.slice(0, 60));
            }
        }
    }
    return wide;
})()";
