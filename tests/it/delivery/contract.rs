//! The public contract: independent consumers can read the topic, and `setup` is safe to repeat.

use harness::{Exit, Raw, World, root};
use schemas::{SchemaId, TopicSpec};

#[test]
fn an_independent_consumer_reads_every_field_through_the_registry() {
    let world = World::new("stranger");
    world.setup();
    let links = r#"{"slug":"a","url":"https://example.com/ü","id":"link-a","version":7}"#;
    let mut server = world.serve(links, &[("CLICKTRAIL_PRIVACY_SIGNALS", "ignore")]);
    let sent =
        [("User-Agent", "stranger/1"), ("Referer", "https://news.example/"), ("Sec-GPC", "1")];
    let answer = server.get("/a?q=%C3%BC", &sent);
    assert_eq!(answer.status, 302);
    server.stop().expect_code(0);

    let venv = root().join(".stack/venv/bin/python");
    let python = std::env::var_os("CLICKTRAIL_OUTSIDER_PYTHON").map_or(venv, Into::into);
    assert!(
        python.exists(),
        "no {}: make it with `python3 -m venv .stack/venv && .stack/venv/bin/pip install -r \
         tests/outsider/requirements.txt`",
        python.display()
    );
    let mut command = std::process::Command::new(python);
    command.arg(root().join("tests/outsider/consume.py")).arg(&world.topic);
    command.env("KAFKA_BROKERS", &world.backends.kafka);
    command.env("SCHEMA_REGISTRY_URL", &world.backends.registry);
    let exit = world.start(command).end().expect_code(0);
    let record: serde_json::Value = serde_json::from_str(&exit.out).unwrap();
    for (field, value) in [
        ("slug", serde_json::json!("a")),
        ("query", "q=%C3%BC".into()),
        ("link_id", "link-a".into()),
        ("link_version", 7.into()),
        ("outcome", "redirected".into()),
        ("status", 302.into()),
        ("target_url", answer.header("location").unwrap().into()),
        ("method", "GET".into()),
        ("origin", "redirect".into()),
        ("source", "test-node".into()),
        ("client_ip", "7f000001".into()),
        ("client_ip_policy", "full".into()),
        ("user_agent", "stranger/1".into()),
        ("referer", "https://news.example/".into()),
        ("accept_language", serde_json::Value::Null),
        ("gpc", true.into()),
        ("dnt", false.into()),
    ] {
        assert_eq!(record[field], value, "{field} in {record:#}");
    }
    assert_eq!(record["visitor_id"].as_str().map(str::len), Some(16), "{record:#}");
    let id = uuid::Uuid::parse_str(record["event_id"].as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
    let minted_ms = id
        .get_timestamp()
        .map(|time| time.to_unix().0 * 1000 + u64::from(time.to_unix().1) / 1_000_000);
    assert_eq!(record["occurred_at"].as_u64().map(|us| us / 1000), minted_ms);
    let schema: serde_json::Value = serde_json::from_str(schemas::NEWEST).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    assert_eq!(record.as_object().unwrap().len(), fields.len(), "no field is lost: {record:#}");
}

#[test]
fn setup_run_again_changes_nothing() {
    let world = World::new("again");
    let first = world.setup();
    assert!(
        first.out.contains("created topic") && first.out.contains("applied migration"),
        "{first:?}"
    );
    let tables = "SELECT name, uuid, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    let before = (world.query(tables), world.kafka.settings(&world.topic));
    let second = world.setup();
    assert_eq!(second.out.trim(), "setup: nothing to change");
    assert_eq!((world.query(tables), world.kafka.settings(&world.topic)), before);
}

#[test]
fn two_setups_at_once_both_succeed() {
    let world = World::new("at_once");
    let mut both = [world.start_setup(), world.start_setup()];
    for setup in &mut both {
        setup.end().expect_code(0);
    }
    assert_eq!(world.setup().out.trim(), "setup: nothing to change");
    world.kafka.produce(&world.topic, &world.good(0, 3));
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 3);
}

/// Runs `processors setup` with these arguments; returns what it prints.
fn setup_with(world: &World, arguments: &[&str], code: i32) -> String {
    let mut command = world.command("processors", &[]);
    command.arg("setup").args(arguments);
    world.start(command).end().expect_code(code).out
}

#[test]
fn setup_keeps_dead_letters_as_long_and_as_large_as_their_records_and_the_setting() {
    let world = World::new("kept_letters");
    world.setup();
    let week = setup_with(&world, &["--dead-letter-payload-days", "7"], 0);
    assert!(week.contains("set the TTL of dead_letter_payloads to 7 days"), "{week}");
    world.kafka.configure(&world.dead_letters(), &[("retention.ms", "1000")]);
    let found = setup_with(&world, &["--check"], 1);
    for expected in [
        "the TTL of dead_letter_payloads is stored_at + toIntervalDay(7), not stored_at + \
         toIntervalDay(90)",
        "dead letters would expire before their records",
        "it could not take every record",
    ] {
        assert!(found.contains(expected), "no {expected} in {found}");
    }
    setup_with(&world, &[], 0);
    assert_eq!(setup_with(&world, &["--check"], 0).trim(), "check: nothing differs");
    assert_eq!(world.setup().out.trim(), "setup: nothing to change");
    setup_with(&world, &["--dead-letter-payload-days", "0"], 64);
}

#[test]
fn setup_fixes_a_topic_that_drifted_and_keeps_settings_of_the_operator() {
    let world = World::new("drift");
    world.setup();
    // The broker's call replaces all settings, so those of the description are gone.
    world.kafka.configure(&world.topic, &[("retention.ms", "1000"), ("segment.ms", "3600000")]);
    let mended = world.setup();
    assert!(mended.out.contains("set retention.ms"), "{mended:?}");
    let settings = world.kafka.settings(&world.topic);
    for (name, value) in &TopicSpec::clicks().config {
        // A setting that equals the broker's default need not be set.
        let set = settings.get(name);
        assert!(set.is_none_or(|set| set == value), "{name} is {set:?}");
    }
    assert_eq!(settings["retention.ms"], TopicSpec::clicks().config["retention.ms"]);
    assert_eq!(settings["message.timestamp.type"], "LogAppendTime");
    assert_eq!(settings["segment.ms"], "3600000", "the operator's own");
    assert_eq!(world.setup().out.trim(), "setup: nothing to change");
}

/// Requires that setup fails with this code and names the fix.
fn refused(world: &World, code: &str) -> Exit {
    let exit = world.start_setup().end().expect_code(78);
    assert!(exit.err.contains(&format!("processors: {code}: ")), "{exit:?}");
    exit
}

#[test]
fn a_migration_that_was_edited_after_it_was_applied_is_refused() {
    let world = World::new("edited");
    world.setup();
    world.query(
        "INSERT INTO schema_migrations (name, checksum) VALUES ('0001_click_versions', 'another')",
    );
    let exit = refused(&world, "migration_edited");
    assert!(exit.err.contains("0001_click_versions"), "{exit:?}");
}

#[test]
fn a_database_of_another_version_is_refused() {
    let world = World::new("other_version");
    world.setup();
    world.query("INSERT INTO schema_migrations (name, checksum) VALUES ('0100_enrichment', 'x')");
    let exit = refused(&world, "migration_unknown");
    assert!(exit.err.contains("0100_enrichment"), "{exit:?}");
    for arguments in [&["setup", "--check"][..], &["run", "--admin-listen", "127.0.0.1:0"]] {
        let mut command = world.command("processors", &[]);
        command.args(arguments);
        let exit = world.start(command).end().expect_code(78);
        assert!(exit.err.contains("migration_unknown: "), "{exit:?}");
    }
}

#[test]
fn a_registry_without_the_schemas_of_the_log_is_refused() {
    let world = World::new("registry");
    world.setup();
    let mut records = world.good(0, 2);
    world.kafka.produce(&world.topic, &records);
    world.setup();
    let mut value = Vec::new();
    schemas::frame(SchemaId(999_999_998), &mut value);
    value.extend_from_slice(&records[0].value.take().unwrap()[5..]);
    world
        .kafka
        .produce(&world.topic, &[Raw { partition: 1, value: Some(value), ..Raw::default() }]);
    let exit = refused(&world, "registry_ids_disagree");
    assert!(exit.err.contains("999999998"), "{exit:?}");
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    let world = World::new("misspelt");
    for (program, arguments, code) in [
        ("processors", &["audit"][..], &[64][..]),
        ("producer", &["import", "--format", "combined", "none.log"], &[64, 78]),
    ] {
        let mut command = world.command(program, &[("CLICKTRAIL_TOPICS", "x")]);
        command.args(arguments);
        let exit = world.start(command).end();
        assert!(code.contains(&exit.code.unwrap_or(0)), "{exit:?}");
        assert!(
            exit.err.contains("CLICKTRAIL_TOPICS") && exit.err.contains("CLICKTRAIL_TOPIC?"),
            "{exit:?}"
        );
    }
}

/// Statements after which the table or the view would lose clicks or count them twice.
const DAMAGES: [&str; 3] = [
    "ALTER TABLE click_versions MODIFY COLUMN ingested_at DEFAULT now()",
    "CREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions",
    "DROP TABLE click_versions",
];

#[test]
fn tables_that_would_lose_or_double_clicks_are_refused_with_the_fix() {
    let world = World::new("preflight");
    let check = |code: i32| {
        let mut command = world.command("processors", &[]);
        command.args(["setup", "--check"]);
        world.start(command).end().expect_code(code).out
    };
    let before = check(1);
    assert!(before.contains("there is no topic") && before.contains("no table"), "{before}");
    assert_eq!(check(1), before, "a check changes nothing");
    world.setup();
    check(0);
    for damage in DAMAGES {
        world.query(damage);
        let mut command = world.command("processors", &[]);
        let admin = harness::free_port().to_string();
        command.args(["run", "--group", &world.group, "--admin-listen", &admin]);
        let refused = world.start(command).end().expect_code(78).err;
        let (_, fix) = refused.split_once("fix it with: ").expect("a fix");
        let fix = fix.split(". Also").next().unwrap().trim();
        check(1);
        match fix {
            "processors setup" => drop(world.setup()),
            statement => drop(world.query(statement)),
        }
        check(0);
    }
}
