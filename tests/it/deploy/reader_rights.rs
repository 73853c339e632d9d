//! The rights of the user `grafana` of `deploy/clickhouse/users.xml` on the real engine: what the dashboards ask, and
//! nothing else.

use std::process::Command;

use harness::{Backends, OwnStack, program, request, root};
use stack::Part;

const DATABASE: &str = "clicktrail";
/// A thousand clicks of two days, half of them from Germany.
const CLICKS: &str = "INSERT INTO click_versions (occurred_at, event_id, logged_at, ingested_at, domain, slug, link_id, \
    outcome, country, region, city, referrer_source, referrer_host, channel, device, browser, os, language, utm_source, \
    utm_medium, utm_campaign, target_host, trigger, visitor_id, is_bot, bot_class, bot_name) \
    SELECT now64(6) - toIntervalSecond(number * 150) AS at, toString(number), at, at, 'go.example', \
    concat('link-', toString(number % 7)), if(number % 11 = 0, '', 'l'), if(number % 11 = 0, 'not_found', 'redirected'), \
    ['DE', 'US'][number % 2 + 1], 'BE', 'Berlin', 'Google', 'www.google.com', 'organic_search', 'phone', 'Firefox', \
    'Android', 'de', 'news', 'email', 'spring', 'shop.example', if(number % 5 = 0, 'qr', 'link'), number % 50 + 1, \
    number % 3 = 0, if(number % 3 = 0, 'ai_crawler', ''), if(number % 3 = 0, 'GPTBot', '') FROM numbers(1000)";

/// What a server states in its own configuration, and the library does not: where the users are.
fn configuration(users: &str) -> String {
    format!(
        "<clickhouse><user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>"
    )
}

/// The shipped file with the rights of `grafana` for the library's only user. The library does not read the setting that
/// a constraint `changeable_in_readonly` needs, so that settings may change here; `readonly` 2 allows nothing else more.
fn users() -> String {
    let shipped = std::fs::read_to_string(root().join("deploy/clickhouse/users.xml")).unwrap();
    let between = |text: &str, start: &str, end: &str| {
        let (_, rest) = text.split_once(start).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let profile = between(&shipped, "<clicktrail_reader>", "</clicktrail_reader>");
    let (before, constraints) = profile.split_once("<constraints>").unwrap();
    assert!(constraints.contains("<additional_table_filters><changeable_in_readonly/>"));
    let settings = before.replace("<readonly>1</readonly>", "<readonly>2</readonly>");
    assert_ne!(settings, before);
    let bounds = between(constraints, "<max_execution_time>", "<changeable_in_readonly/>");
    let grants = between(&shipped, "<grafana>", "</grafana>");
    let grants = between(&grants, "<grants>", "</grants>");
    format!(
        "<clickhouse><profiles><default>{settings}<constraints><max_execution_time>{bounds}</max_execution_time>\
         </constraints></default></profiles><quotas><default/></quotas><users><default>\
         <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>\
         <grants>{grants}</grants></default></users></clickhouse>"
    )
}

/// Sends a statement as a user; the answer's body, or the server's error.
fn send(url: &str, user: &(String, String), sql: &str) -> Result<String, String> {
    let headers = [
        ("X-ClickHouse-User", user.0.as_str()),
        ("X-ClickHouse-Key", user.1.as_str()),
        ("X-ClickHouse-Database", DATABASE),
    ];
    let answer = request("POST", url, &headers, sql).unwrap();
    if answer.status == 200 { Ok(answer.body.trim().to_owned()) } else { Err(answer.body) }
}

#[test]
fn the_shipped_reader_runs_each_query_and_reads_no_other_table_through_a_filter() {
    let own = OwnStack::of(&[Part::ClickHouse]);
    let env = own.env().unwrap();
    let read = |name: &str| {
        env.iter().find(|(own, _)| *own == name).map_or(String::new(), |it| it.1.clone())
    };
    let backends = Backends::of(read);
    let (url, writer, reader) = (&backends.clickhouse, &backends.user, &backends.reader);
    let statements = processors::clickhouse::migrations::sql(DATABASE);
    let mut statements = statements.split(";\n").map(str::trim).filter(|text| !text.is_empty());
    let own_keys =
        [("X-ClickHouse-User", writer.0.as_str()), ("X-ClickHouse-Key", writer.1.as_str())];
    let create = request("POST", url, &own_keys, statements.next().unwrap()).unwrap();
    assert_eq!(create.status, 200, "{}", create.body);
    for statement in statements.filter(|text| !text.starts_with("USE ")) {
        send(url, writer, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    send(url, writer, CLICKS).unwrap();
    let payload = "INSERT INTO dead_letter_payloads (value) VALUES ('secret')";
    send(url, writer, payload).unwrap();

    let folder = own.folder().join("clickhouse/cwd");
    let file = folder.join("users.xml");
    std::fs::write(&file, users()).unwrap();
    std::fs::write(folder.join("config.xml"), configuration(file.to_str().unwrap())).unwrap();
    own.restart(Part::ClickHouse).unwrap();

    each_query_runs(url, reader);
    no_filter_reads_another_table(url, reader);
    for sql in ["SELECT count() FROM dead_letter_payloads", CLICKS] {
        assert!(send(url, reader, sql).is_err(), "{sql}");
    }
    assert_eq!(send(url, reader, "SELECT count() FROM clicks").as_deref(), Ok("1000"));
    // No query lifts the bound on its time.
    let within = |seconds: u32| {
        send(url, reader, &format!("SELECT 1 SETTINGS max_execution_time = {seconds}"))
    };
    assert_eq!([1, 65].map(within), ["1", "1"].map(|one| Ok(one.to_owned())));
    for seconds in [0, 3_600] {
        let error = within(seconds).unwrap_err();
        assert!(error.starts_with("Code: 452"), "{seconds}: {error}");
    }
}

/// `processors dashboards check` as the reader, with a real Prometheus: no query fails, each panel of clicks has data.
fn each_query_runs(url: &str, reader: &(String, String)) {
    let prometheus = OwnStack::with_prometheus();
    let metrics = format!("http://{}", prometheus.ports().unwrap().address(Part::Prometheus));
    let mut check = Command::new(program("processors"));
    check.args(["dashboards", "check", "--from", "2d", "--zone", "Europe/Berlin"]);
    check.args(["--prometheus-url", &metrics]);
    check.env("CLICKHOUSE_URL", url).env("CLICKHOUSE_DATABASE", DATABASE);
    check.env("CLICKHOUSE_USER", &reader.0).env("CLICKHOUSE_PASSWORD", &reader.1);
    let output = check.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = text.lines().collect();
    let (sums, table) = lines.split_last().unwrap();
    assert!(sums.contains(" 0 skipped, 0 wrong;"), "{sums}");
    assert!(sums.ends_with("faults of files: 0"), "{sums}");
    let attacks = sums.split("attacks: ").nth(1).and_then(|rest| rest.split(';').next());
    assert!(attacks.unwrap().parse::<u32>().unwrap() > 40, "{sums}");
    // The filter bar has no filter, and no audit has stored a verdict.
    let expected = ["\"Filters\"", "\"Log and table balance\""];
    let of_clicks =
        table.iter().filter(|line| line.starts_with("Overview ") && line.contains("panel "));
    let of_clicks: Vec<_> =
        of_clicks.filter(|line| !expected.iter().any(|title| line.contains(title))).collect();
    assert!(of_clicks.len() > 15, "{table:#?}");
    assert!(of_clicks.iter().all(|line| line.ends_with("  ok")), "{of_clicks:#?}");
}

/// Filters as the plugin appends them, on each view of clicks and on its table.
fn no_filter_reads_another_table(url: &str, reader: &(String, String)) {
    let filtered = |view: &str, table: &str, filter: &str| {
        let filter = filter.replace('\\', r"\\").replace('\'', r"\'");
        let sql = format!(
            "SELECT count() FROM {view} SETTINGS additional_table_filters={{'{table}': '{filter}'}}"
        );
        send(url, reader, &sql)
    };
    for (view, table) in [
        ("clicks", "clicks"),
        ("clicks", "click_versions"),
        ("clicks_of_days", "clicks_of_days"),
        ("clicks_of_days", "click_versions"),
    ] {
        let filtered = |filter: &str| filtered(view, table, filter);
        assert_eq!(filtered("country = 'DE'").as_deref(), Ok("500"), "{view} {table}");
        for filter in [
            "event_id NOT IN (SELECT value FROM dead_letter_payloads)",
            "(SELECT count() FROM dead_letter_payloads) > 0",
            "(SELECT any(value) FROM dead_letter_payloads) = 'secret'",
        ] {
            let error = filtered(filter).unwrap_err();
            assert!(error.starts_with("Code: 497"), "{view} {table}: {filter}: {error}");
        }
        for filter in [
            "event_id IN (SELECT * FROM file('/etc/passwd', 'LineAsString'))",
            "1; DROP TABLE clicks",
        ] {
            assert!(filtered(filter).is_err(), "{view} {table}: {filter}");
        }
    }
}
