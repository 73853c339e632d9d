//! The alert on open dead letters, end to end: a record that cannot become a row pages, and its redrive ends
//! the alert. The shipped files with every duration divided by 60; the gauge alone keeps its 15 seconds.

use std::fmt::Write as _;
use std::time::Instant;

use harness::{OwnStack, PostReceiver, World, root, until};
use serde_json::Value;

const PATH: &str = "/page";

/// The text with each duration, such as `5m`, divided by 60.
fn sixtieth(text: &str) -> String {
    let (mut scaled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_alphanumeric()) {
        scaled += &rest[..at];
        rest = &rest[at..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let seconds = |unit| match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let unit = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = word[..word.len() - unit.len()].parse::<u64>().ok();
        match number.zip(seconds(unit)) {
            Some((number, seconds)) => {
                write!(scaled, "{}ms", number * seconds * 1000 / 60).unwrap();
            }
            None => scaled += word,
        }
        rest = after;
    }
    scaled + rest
}

/// A shipped file with its durations divided by 60.
fn shipped(path: &str) -> String {
    let path = root().join("deploy/prometheus").join(path);
    sixtieth(&std::fs::read_to_string(path).unwrap())
}

/// Replaces a part of a text, which must be there once.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

/// The shipped files for one process at `admin` and one receiver of pages, by their place in a stack.
fn files(admin: &str, receiver: &str) -> Vec<(&'static str, String)> {
    let targets = format!("static_configs: [{{targets: [\"{}\"]}}]", &admin["http://".len()..]);
    let mut prometheus = replaced(&shipped("prometheus.yml"), "rules/*.yml", "divided/*.yml");
    for (name, port, to) in [
        ("processors", 9181, targets.as_str()),
        ("producer", 9180, "static_configs: []"),
        ("audit", 9182, "static_configs: []"),
    ] {
        let from = format!("dns_sd_configs: [{{names: [{name}], type: A, port: {port}}}]");
        prometheus = replaced(&prometheus, &from, to);
    }
    let page = format!("{receiver}{PATH}");
    vec![
        ("prometheus/prometheus.yml", prometheus),
        ("prometheus/divided/dead_letters.yml", shipped("rules/dead_letters.yml")),
        (
            "alertmanager/alertmanager.yml",
            replaced(&shipped("alertmanager.yml"), "http://127.0.0.1:9095/", &page),
        ),
    ]
}

/// The last call of the webhook.
fn last_call(receiver: &PostReceiver) -> Option<Value> {
    Some(serde_json::from_slice(receiver.bodies().last()?).expect("Alertmanager posts JSON"))
}

#[test]
fn a_dead_letter_pages_and_its_redrive_ends_the_alert() {
    let world = World::new("alert");
    world.setup();
    let processors = world.processors(&[], &[]);
    let mut poison = world.good(0, 1);
    poison[0].value.as_mut().unwrap().push(0);
    world.kafka.produce(&world.topic, &poison);
    let began = Instant::now();
    let receiver = PostReceiver::start(PATH);
    let alerts = OwnStack::with_alerts(&files(&processors.admin, &receiver.url()));

    let call = |status: &'static str| {
        until(&format!("a call of the webhook: {status}"), || {
            last_call(&receiver).filter(|call| call["status"] == status)
        })
    };
    let page = call("firing");
    let paged = began.elapsed();
    let [alert] = page["alerts"].as_array().unwrap().as_slice() else { panic!("{page:#}") };
    for (name, value) in
        [("alertname", "DeadLettersOpen"), ("code", "trailing_bytes"), ("severity", "page")]
    {
        assert_eq!(alert["labels"][name], value, "{page:#}");
    }
    let summary = &alert["annotations"]["summary"];
    assert_eq!(summary, "Open dead letters with code trailing_bytes: 1");

    world.dlq_output(&["redrive", "--repair", "trailing_bytes", "--wait"]);
    assert_eq!(world.clicks(), 1);
    let end = call("resolved");
    assert_eq!(end["alerts"][0]["labels"]["code"], "trailing_bytes", "{end:#}");
    println!("the page after {paged:?}, its end after {:?}", began.elapsed());
    drop(alerts);
}

#[test]
fn every_duration_of_a_text_is_divided_by_sixty() {
    let text = "for: 5m\nx[6h], 15s; v3 9m9 1e3m :9095 m 250ms {state=~\"open\"} 30s";
    let divided =
        "for: 5000ms\nx[360000ms], 250ms; v3 9m9 1e3m :9095 m 250ms {state=~\"open\"} 500ms";
    assert_eq!(sixtieth(text), divided);
}
