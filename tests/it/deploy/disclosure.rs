//! Logs, errors and help texts do not show the values of secret settings; the dashboards' user does not
//! read the bytes of dead letters.

use std::collections::BTreeSet;
use std::process::Command;

use clap::CommandFactory as _;
use harness::{World, closed_port, root};

const SECRET: &str = "geheim";
/// Parts of the names of variables whose values may hold a secret.
const MAY_HOLD_SECRETS: [&str; 7] =
    ["URL", "TOKEN", "PASSWORD", "SECRET", "PROPERTIES", "LINKS_DB", "ENDPOINT"];

fn walk(command: &clap::Command, visit: &mut impl FnMut(&clap::Arg)) {
    command.get_arguments().for_each(&mut *visit);
    command.get_subcommands().for_each(|inner| walk(inner, visit));
}

#[test]
fn l5_help_texts_show_no_value_that_may_be_a_secret() {
    let mut hidden = 0;
    for command in [producer::config::Cli::command(), processors::cmd::Cli::command()] {
        walk(&command, &mut |argument| {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { return };
            let may = MAY_HOLD_SECRETS.iter().any(|part| name.contains(part));
            if may && !name.ends_with("_FILE") {
                assert!(argument.is_hide_env_values_set(), "--help shows the value of {name}");
                hidden += 1;
            }
        });
    }
    assert!(hidden > 10, "{hidden}");
}

/// The output of a program until it ends by itself.
fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn l5_l6_no_error_and_no_log_line_repeats_a_secret() {
    let world = World::new("secrets");
    let url = format!("http://user:ge@{SECRET}@{}/?password={SECRET}", closed_port());
    let registry = format!("http://{},http://user:{SECRET}@{}", closed_port(), closed_port());
    let endpoint = format!("http://user:{SECRET}@{}", closed_port());
    let no_endpoint = format!("http://user:{SECRET}@ no host");
    let link_store = format!("postgres://user:{SECRET}@{}/links", closed_port());
    let setup = ["setup", "--wait-seconds", "1"].as_slice();
    let serve = ["serve", "--flush-seconds", "1"].as_slice();
    for (program, arguments, name, value) in [
        ("processors", setup, "CLICKHOUSE_URL", url.as_str()),
        ("processors", setup, "SCHEMA_REGISTRY_URL", &registry),
        ("processors", setup, "OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("processors", setup, "CLICKTRAIL_KAFKA_PROPERTIES", SECRET),
        ("processors", setup, "CLICKTRAIL_KAFKA_PROPERTIES", "sasl.pasword=geheim"),
        ("producer", serve, "CLICKTRAIL_KAFKA_PROPERTIES", SECRET),
        ("producer", serve, "CLICKTRAIL_COLLECTOR_TOKEN", "geheim"),
        ("producer", serve, "CLICKTRAIL_COLLECTOR_TOKEN", "a long token with spaces, geheim"),
        ("producer", serve, "CLICKTRAIL_LINKS_TOKEN", "geheim"),
        ("producer", serve, "OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("producer", serve, "OTEL_EXPORTER_OTLP_ENDPOINT", &no_endpoint),
        ("producer", &["links", "list"], "CLICKTRAIL_LINKS_DB", &link_store),
    ] {
        let mut command = world.command(program, &[(name, value)]);
        command.args(arguments).env("CLICKTRAIL_LOG", "debug");
        let text = said(command);
        assert!(!text.is_empty() && !text.contains(SECRET), "{name}={value}: {text}");
    }
}

/// Tables that hold what senders wrote.
const OF_SENDERS: [&str; 2] = ["dead_letter_payloads", "dead_letter_repairs"];

/// The words of `text` after each `start`, up to a space, a line's end or an angle bracket.
fn names_after(text: &str, start: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.split([' ', '\n', '<']).next().unwrap_or_default().to_owned();
    text.split(start).skip(1).map(name).collect()
}

#[test]
fn the_dashboards_read_every_table_but_those_of_the_bytes_of_dead_letters() {
    let migrations = std::fs::read_dir(root().join("processors/migrations")).unwrap();
    let sql = migrations.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let sql = sql.collect::<String>();
    let tables = names_after(&sql, "CREATE TABLE IF NOT EXISTS ");
    let views = names_after(&sql, "CREATE OR REPLACE VIEW ");
    let (mut all, held) = (&tables | &views, OF_SENDERS.map(str::to_owned));
    for table in &held {
        assert!(all.remove(table), "there is no table {table}");
    }
    let users = std::fs::read_to_string(root().join("deploy/clickhouse/users.xml")).unwrap();
    let (_, dashboards) = users.split_once("<grafana>").unwrap();
    let granted = dashboards.matches("GRANT ").count();
    assert_eq!(names_after(dashboards, "GRANT SELECT ON clicktrail."), all);
    assert_eq!(granted, all.len(), "another right is granted");
}
