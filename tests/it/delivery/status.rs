//! `processors status` answers in time also while parts of the pipeline are down, and names them.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::{World, closed_port, free_port, get};
use serde_json::Value;

/// The longest time for which `status` may run.
const LONGEST: Duration = Duration::from_secs(3);
/// Other tests use the machine, too: so often it may take longer.
const ATTEMPTS: u32 = 3;

/// A port that accepts connections and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Runs `processors status --json`; returns its answer and its exit code.
fn status(world: &World, services: &str, set: &[(&str, &str)]) -> (Value, i32) {
    for attempt in 1.. {
        let mut command = world.command("processors", set);
        command.args(["status", "--json", "--group", &world.group, "--services", services]);
        let began = Instant::now();
        let exit = world.start(command).end();
        if began.elapsed() < LONGEST {
            let answer = serde_json::from_str(&exit.out);
            return (
                answer.unwrap_or_else(|error| panic!("{error}: {exit:?}")),
                exit.code.unwrap(),
            );
        }
        assert!(attempt < ATTEMPTS, "{:?}: {exit:?}", began.elapsed());
    }
    unreachable!("attempts end")
}

/// The headings of the findings of a level. Those of disks are of the machine, not of the pipeline.
fn headings(answer: &Value, level: &str) -> BTreeSet<String> {
    let findings = answer["findings"].as_array().unwrap().iter();
    let own = findings.filter(|it| it["level"] == level && it["name"] != "DiskFilling");
    own.map(|it| it["runbook"].as_str().unwrap().replace("RUNBOOK.md#", "")).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A process may have another address of a server than the shell of `status`.
fn names_the_server_for_which_a_start_waits(world: &World) {
    let closed = closed_port().to_string();
    let url = format!("http://user:geheim@{closed}");
    let mut command = world.command("processors", &[("SCHEMA_REGISTRY_URL", &url)]);
    let admin = free_port().to_string();
    command.args(["run", "--group", &world.group, "--admin-listen", &admin]);
    let mut waiting = world.start(command);
    let readyz = format!("http://{admin}/readyz");
    let answer = waiting.until("the name of the registry", || {
        get(&readyz).ok().filter(|answer| answer.body.contains("waiting: registry_unreachable: "))
    });
    let (found, code) = status(world, &admin, &[]);
    waiting.stop();
    assert_eq!(
        (headings(&found, "wrong"), code),
        (names(&["registry_unreachable"]), 1),
        "{found:#}"
    );
    let finding = found["findings"].to_string();
    for text in [&answer.body, &finding, &waiting.log()] {
        assert!(text.contains(&closed) && !text.contains("geheim"), "{text}");
    }
}

#[test]
fn status_answers_within_three_seconds_and_names_each_part_that_is_down() {
    let world = World::new("status");
    world.setup();
    // No rule table is in it.
    let rules = world.folder().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let mut processors = world.processors(&[], &[("CLICKTRAIL_RULES", rules.to_str().unwrap())]);
    world.kafka.produce(&world.topic, &[world.good(0, 3), world.good(1, 4)].concat());
    processors.until_caught_up(&world);
    let admin = processors.admin.replace("http://", "");

    // Under load the brokers may take longer than a part of the time for one of their answers.
    let complete = |answer: &Value| {
        let group = &answer["kafka"]["group"];
        group["rates"].is_object() && group["members"].is_u64()
    };
    let mut answers = (0..ATTEMPTS).map(|_| status(&world, &admin, &[]).0);
    let answer = answers.find(complete).expect("a complete answer");
    // No audit has stored a verdict.
    assert_eq!(headings(&answer, "ticket"), names(&["audit", "rules_missing"]), "{answer:#}");
    assert_eq!(headings(&answer, "wrong"), names(&[]), "{answer:#}");
    assert_eq!(headings(&answer, "unknown"), names(&[]), "{answer:#}");
    let group = &answer["kafka"]["group"];
    assert_eq!(group["members"], 1, "{answer:#}");
    assert_eq!(group["lag_records"], 0, "{answer:#}");
    let tables = &answer["clickhouse"];
    assert!(tables["newest_click_at"].is_string(), "{answer:#}");
    assert!(tables["parts"]["limits"][1].as_u64().unwrap() > 500, "{answer:#}");
    assert_eq!(answer["services"][0]["kind"], "processors");

    world.query(&format!(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, state, code, logged_from, \
         logged_until, differences_from, differences_until) SELECT '{}', 'g', 60, 'out_of_balance', \
         'out_of_balance', now64(3) - 900, now64(3) - 30, now64(3) - 600, now64(3) - 600",
        world.topic
    ));
    let (answer, code) = status(&world, &admin, &[]);
    assert_eq!((headings(&answer, "wrong"), code), (names(&["out_of_balance"]), 1), "{answer:#}");
    let balance = &answer["clickhouse"]["balance"];
    assert_eq!(balance["state"], "out_of_balance", "{answer:#}");
    assert!(balance["differences_from"].is_string(), "{answer:#}");
    world.query("TRUNCATE TABLE audit_verdict_versions");

    names_the_server_for_which_a_start_waits(&world);

    let ((_one, registry), (_two, stalled)) = (silent(), silent());
    let closed = closed_port().to_string();
    let urls = [&registry, &closed].map(|address| format!("http://{address}"));
    let services = [admin.as_str(), &stalled, &closed].join(",");
    let set = [("SCHEMA_REGISTRY_URL", urls[0].as_str()), ("CLICKHOUSE_URL", &urls[1])];
    let (answer, code) = status(&world, &services, &set);
    let expected = names(&["clickhouse_unreachable", "page-2-symptoms", "registry_unreachable"]);
    assert_eq!(headings(&answer, "unknown"), expected, "{answer:#}");
    let expected = names(&["a-process-does-not-start"]);
    assert_eq!((headings(&answer, "wrong"), code), (expected, 1), "{answer:#}");
    let tables = &answer["clickhouse"];
    assert!(tables["dead_letters"].is_null() && tables["jobs"].is_null(), "{answer:#}");
    assert_eq!(answer["kafka"]["group"]["lag_records"], 0, "the brokers answered: {answer:#}");

    let (_three, brokers) = silent();
    let (answer, code) = status(&world, &stalled, &[("KAFKA_BROKERS", &brokers)]);
    let expected = names(&["kafka_unreachable", "page-2-symptoms"]);
    assert_eq!(headings(&answer, "unknown"), expected, "{answer:#}");
    assert_eq!(headings(&answer, "wrong"), names(&[]), "{answer:#}");
    // A disk of the machine may be full.
    assert_eq!(code, if answer["verdict"] == "unknown" { 75 } else { 1 }, "{answer:#}");
    assert!(answer["kafka"].is_null(), "{answer:#}");
    assert_eq!(answer["clickhouse"]["dead_letters"], serde_json::json!({}));
}
