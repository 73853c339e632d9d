//! `processors setup` on several servers: tables, layout and views, and the refusal of another layout.

use std::path::{Path, PathBuf};

use harness::{Backends, Exit, ShardEngines, World, free_port, request};

/// Runs `processors` with these arguments and this file of shards.
fn processors(world: &World, arguments: &[&str], shards: Option<&Path>, code: i32) -> Exit {
    let mut command = world.command("processors", &[]);
    command.args(arguments).env_remove("CLICKHOUSE_SHARDS");
    command.envs(shards.map(|file| ("CLICKHOUSE_SHARDS", file)));
    world.start(command).end().expect_code(code)
}

/// A file of shards whose parts (`[[shard]]` …) are in this order.
fn file(world: &World, name: &str, parts: &[&str]) -> PathBuf {
    let path = world.folder().join(name);
    std::fs::write(&path, parts.concat()).expect("a file can be written");
    path
}

/// A click that occurred on this day, as a statement.
fn click(day: &str) -> String {
    format!(
        "INSERT INTO click_versions (occurred_at, event_id) VALUES ('{day} 12:00:00', 'abcdefghijklmnop')"
    )
}

#[test]
fn setup_stores_the_layout_of_shards_and_refuses_another_one_once_there_are_clicks() {
    let engines = ShardEngines::up(&[1, 2]);
    let world = engines.world(&Backends::find(), "shard_setup");
    let text = engines.text();
    let parts: Vec<_> = text.split_inclusive("\n\n").collect();
    let shards = file(&world, "in_order.toml", &parts);
    let swapped = file(&world, "swapped.toml", &[parts[1], parts[0]]);
    let ask = |shard: usize, sql: &str| engines.ask(&world, shard, sql).unwrap();
    let layout = |shard| ask(shard, "SELECT DISTINCT shard, shards, weights FROM cluster_layout");

    // Without clicks the layout replaces that of the only server, whose tables exist.
    let setup = |shards: Option<&Path>| processors(&world, &["setup"], shards, 0).out;
    setup(None);
    assert_eq!(layout(0), "");
    let changes = setup(Some(&shards));
    assert!(changes.contains("stored the layout: shard 2 of 2 with the weights 1,2"), "{changes}");
    assert_eq!((layout(0), layout(1)), ("1\t2\t1,2".to_owned(), "2\t2\t1,2".to_owned()));
    assert_eq!(setup(Some(&shards)).trim(), "setup: nothing to change");
    let check = processors(&world, &["setup", "--check"], Some(&shards), 0);
    assert_eq!(check.out.trim(), "check: nothing differs");

    // Each server shows the clicks of all shards once, and each shard its own ones.
    for day in ["2026-01-01", "2026-01-01", "2026-01-02"] {
        ask(1, &click(day));
    }
    ask(0, &click("2026-01-03"));
    for shard in 0..2 {
        assert_eq!(ask(shard, "SELECT count() FROM clicks"), "3", "shard {shard}");
        let days = "SELECT count() FROM clicks_of_days WHERE day < '2026-01-03'";
        assert_eq!(ask(shard, days), "2", "shard {shard}");
    }
    assert_eq!((ask(0, "SELECT count() FROM shard_clicks")), "1");
    let shown =
        ask(0, "SELECT create_table_query FROM system.tables WHERE name = 'shard_2_clicks'");
    assert!(shown.contains("X-ClickHouse-User") && shown.contains("[HIDDEN]"), "{shown}");

    // This engine has no cluster.
    let named = file(&world, "named.toml", &["cluster = 'clicktrail'\n", &text]);
    let refused = processors(&world, &["setup"], Some(&named), 78).err;
    for expected in ["clickhouse_cluster: ", "has no cluster \"clicktrail\"", "remote_servers"] {
        assert!(refused.contains(expected), "no {expected} in {refused}");
    }

    // With clicks another layout is refused, by each program and without a change.
    let admin = free_port().to_string();
    let run = ["run", "--group", &world.group, "--admin-listen", &admin];
    let moved = "of 2 with the weights 2,1 by the settings";
    for (text, now) in [
        (processors(&world, &["setup"], Some(&swapped), 78).err, moved),
        (processors(&world, &["setup", "--check"], Some(&swapped), 1).out, moved),
        (processors(&world, &run, None, 78).err, "the only server by the settings"),
    ] {
        let was = "of 2 with the weights 1,2 by its table";
        for expected in [was, now, "count twice", "CLICKHOUSE_DATABASE"] {
            assert!(text.contains(expected), "no {expected} in {text}");
        }
    }
    assert_eq!((layout(0), layout(1)), ("1\t2\t1,2".to_owned(), "2\t2\t1,2".to_owned()));

    // A replica of a shard that does not answer stops `setup`, which needs every server, and nothing else.
    engines.fronts[1].kill();
    let refused = processors(&world, &["setup", "--wait-seconds", "0"], Some(&shards), 75).err;
    assert!(refused.contains("clickhouse_unreachable: ") && refused.contains("shard 1 (http://"));
    let check = processors(&world, &["setup", "--check"], Some(&shards), 1).out;
    assert!(
        check.contains("shard 1 (http://") && check.contains("inserts use the other replicas"),
        "{check}"
    );
    assert!(check.ends_with("check: 1 findings\n"), "{check}");
}

#[test]
fn every_printed_statement_for_a_cluster_is_parsed_by_the_engine() {
    let world = World::new("printed_shards");
    let (name, password) = &world.backends.user;
    let user = [("X-ClickHouse-User", name.as_str()), ("X-ClickHouse-Key", password)];
    let url = format!("{}/", world.backends.clickhouse);
    let shard = "[[shard]]\nreplicas = ['http://a:8123', 'http://b:8123']\n";
    for (name, cluster) in [("named.toml", "cluster = 'clicktrail'\n"), ("plain.toml", "")] {
        let shards =
            file(&world, name, &[cluster, shard, "[[shard]]\nreplicas = ['http://c:8123']\n"]);
        let printed = processors(&world, &["setup", "--print"], Some(&shards), 0).out;
        let statements: Vec<_> =
            printed.split(";\n").map(str::trim).filter(|text| !text.is_empty()).collect();
        assert!(statements.len() > 60, "{printed}");
        // As arguments, since statements for a cluster cannot run here.
        let literal =
            |statement: &&str| format!("'{}'", statement.replace('\\', r"\\").replace('\'', r"\'"));
        let literals: Vec<_> = statements.iter().map(literal).collect();
        let sql = format!(
            "SELECT arrayFilter(it -> isNull(formatQueryOrNull(it)), [{}]) AS refused, formatQueryOrNull('CREATE')",
            literals.join(", ")
        );
        let answer = request("POST", &url, &user, sql).expect("the engine answers");
        assert_eq!((answer.status, answer.body.trim()), (200, "[]\t\\N"), "{}", answer.body);
    }
}
