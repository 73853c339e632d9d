//! The shipped files agree with the code: variables, ports, health checks and timeouts of the compose
//! file, the image, the data sources. Both services work as the first process of a container.

use std::collections::BTreeSet;
use std::process::Command;

use clap::{CommandFactory as _, FromArgMatches as _};
use harness::{Signal, World, closed_port, root, until};
use serde_json::Value;

use crate::deploy::dashboards::DASHBOARDS;

/// The default drain timeout in seconds; a test compares it with the defaults of the flags.
const DRAIN: u64 = 30;

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&page(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn services() -> Vec<(String, Value)> {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap().clone();
    assert!(services.len() >= 10, "{services:?}");
    services.into_iter().collect()
}

fn service(name: &str) -> Value {
    let found = services().into_iter().find(|(own, _)| own == name);
    found.unwrap_or_else(|| panic!("no service {name}")).1
}

/// The services with our image.
fn ours() -> Vec<(String, Value)> {
    let ours: Vec<_> = services()
        .into_iter()
        .filter(|(_, it)| it["image"].as_str().unwrap().starts_with("clicktrail:"))
        .collect();
    let names: Vec<_> = ours.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["audit", "processors", "producer", "setup", "status"]);
    ours
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let set = service["environment"].as_object().into_iter().flatten();
    set.map(|(name, value)| {
        (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    })
    .collect()
}

/// The arguments of `words` (program and subcommand first), with each variable as its flag.
fn with_flags(words: &[String], set: &[(String, String)]) -> (Vec<String>, clap::Command) {
    let command = match words[0].as_str() {
        "producer" => producer::config::Cli::command(),
        "processors" => processors::cmd::Cli::command(),
        other => panic!("{other} is no program of ours"),
    };
    let mut built = command.clone();
    built.build();
    let subcommand = built.find_subcommand(&words[1]).expect("a subcommand").clone();
    let mut all = words.to_vec();
    for (name, value) in set {
        let reads = |argument: &&clap::Arg| argument.get_env().is_some_and(|env| env == &**name);
        let argument = subcommand.get_arguments().find(reads);
        let argument = argument.unwrap_or_else(|| panic!("{words:?} does not read {name}"));
        let long = format!("--{}", argument.get_long().unwrap());
        if !words.contains(&long) {
            all.push(format!("{long}={value}"));
        }
    }
    (all, command)
}

fn parsed(words: &[String], set: &[(String, String)]) -> clap::ArgMatches {
    let (all, command) = with_flags(words, set);
    command.try_get_matches_from(&all).unwrap_or_else(|error| panic!("{all:?}: {error}"))
}

#[test]
fn the_compose_file_sets_only_variables_and_arguments_that_its_commands_read() {
    for (name, service) in ours() {
        let words = words(&service["command"]);
        let set = environment(&service);
        let matches = parsed(&words, &set);
        match words[0].as_str() {
            "producer" => {
                let cli = producer::config::Cli::from_arg_matches(&matches).unwrap();
                let producer::config::Command::Serve(args) = cli.command else { panic!("{name}") };
                for address in [args.listen, args.admin.admin_listen] {
                    assert!(address.ip().is_unspecified(), "{name}: {address}");
                }
            }
            _ => drop(processors::cmd::Cli::from_arg_matches(&matches).unwrap()),
        }
    }
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn supervisors_wait_longer_than_a_drain_and_probe_the_served_address() {
    for (program, flag) in [("processors", "drain-seconds"), ("producer", "flush-seconds")] {
        let subcommand = if program == "producer" { "serve" } else { "run" };
        let words = [program.to_owned(), subcommand.to_owned()];
        let (_, mut command) = with_flags(&words, &[]);
        command.build();
        let subcommand = command.find_subcommand(subcommand).unwrap();
        let argument = subcommand.get_arguments().find(|it| it.get_long() == Some(flag)).unwrap();
        assert_eq!(argument.get_default_values(), [DRAIN.to_string().as_str()], "{flag}");
    }
    for (name, service) in ours() {
        if ["setup", "status"].contains(&name.as_str()) {
            continue;
        }
        let grace = seconds(service["stop_grace_period"].as_str().unwrap());
        if name != "audit" {
            assert!(grace > DRAIN + 5, "{name} is killed while it drains");
        }
        let test = words(&service["healthcheck"]["test"]);
        assert_eq!(test[0], "CMD", "{name}: the image has no shell");
        let set = environment(&service);
        let listens = set.iter().find(|(name, _)| name.ends_with("ADMIN_LISTEN")).unwrap();
        let port = listens.1.rsplit(':').next().unwrap();
        // The check reads the same variable, or has the port as an argument.
        let given: Vec<_> = set
            .iter()
            .filter(|(name, _)| {
                name == "CLICKTRAIL_PRODUCER_ADMIN_LISTEN" && test[1] == "producer"
                    || name == "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN" && test[1] == "processors"
            })
            .cloned()
            .collect();
        let (all, _) = with_flags(&test[1..], &given);
        parsed(&test[1..], &given);
        assert!(all.last().unwrap().ends_with(&format!(":{port}")), "{name} asks {all:?}");
    }
}

#[test]
fn every_service_is_pinned_bounded_and_on_loopback() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap();
        let image = image.strip_suffix("${CLICKTRAIL_VERSION:-dev}").map_or(image, |_| "ours:0");
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image}"));
        assert!(tag.bytes().any(|b| b.is_ascii_digit()), "{name}: {image}");
        assert!(service["mem_limit"].is_string(), "{name} has no memory limit");
        assert!(service["logging"].is_object(), "{name} has no limit of its log");
        let privileges = serde_json::json!(["no-new-privileges:true"]);
        assert_eq!(service["security_opt"], privileges, "{name}");
        assert!(service["networks"].is_array(), "{name} is reachable from every service");
        let one_shot = service["profiles"].is_array();
        assert!(one_shot || service["restart"].is_string(), "{name} is not restarted");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name} is reachable from outside: {port}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if let Some(path) = source.strip_prefix("./") {
                assert!(root().join(path).exists(), "{name} mounts {path}, which does not exist");
            }
        }
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let needed_service = self::service(needed);
            if how["condition"] == "service_healthy" {
                assert!(needed_service["healthcheck"].is_object(), "{name} waits for {needed}");
            }
        }
    }
    for (name, service) in ours() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
    }
    let redpanda = words(&service("redpanda")["command"]);
    assert!(redpanda.iter().any(|word| word == "--unsafe-bypass-fsync=false"));
    let healthy = words(&service("redpanda")["healthcheck"]["test"]).join(" ");
    assert!(healthy.contains("unsafe-bypass-fsync"), "an unsafe broker counts as healthy");
    assert!(!redpanda.iter().any(|word| word.contains("dev-container")));
}

/// The networks of a service of the compose file.
fn networks(name: &str) -> BTreeSet<String> {
    words(&service(name)["networks"]).into_iter().collect()
}

#[test]
fn l16_only_the_services_that_need_them_reach_broker_and_tables() {
    for (name, _) in services() {
        let own = networks(&name);
        let ours = ["audit", "processors", "setup", "status"].contains(&&*name);
        let log = ours || ["producer", "redpanda"].contains(&&*name);
        let tables = ours || ["clickhouse", "grafana"].contains(&&*name);
        assert_eq!(own.contains("log"), log, "{name}: {own:?}");
        assert_eq!(own.contains("tables"), tables, "{name}: {own:?}");
        for needed in service(&name)["depends_on"].as_object().into_iter().flatten() {
            let shared = networks(needed.0);
            assert!(!own.is_disjoint(&shared), "{name} does not reach {}", needed.0);
        }
    }
    let kubernetes = page("docs/deploy/kubernetes.yaml");
    let pods = kubernetes.matches("containers:").count();
    for (line, count) in [
        ("automountServiceAccountToken: false", pods),
        ("readOnlyRootFilesystem: true, allowPrivilegeEscalation: false", pods),
        ("seccompProfile: {type: RuntimeDefault}", pods),
        ("kind: NetworkPolicy", 4),
    ] {
        assert_eq!(kubernetes.matches(line).count(), count, "{line}");
    }
}

#[test]
fn l11_the_shipped_grafana_shows_nothing_without_a_password() {
    let set = environment(&service("grafana"));
    let anonymous = set.iter().find(|(name, _)| name == "GF_AUTH_ANONYMOUS_ENABLED");
    assert_eq!(anonymous.map(|(_, value)| value.as_str()), Some("false"));
}

#[test]
fn l9_the_units_give_each_service_a_folder_and_no_rights() {
    for unit in ["producer", "processors@", "audit"] {
        let unit = page(&format!("docs/deploy/systemd/clicktrail-{unit}.service"));
        for line in [
            "UMask=0077",
            "NoNewPrivileges=yes",
            "MemoryDenyWriteExecute=yes",
            "RestrictNamespaces=yes",
            "SystemCallArchitectures=native",
            "RestartPreventExitStatus=64 78",
        ] {
            assert!(unit.lines().any(|own| own == line), "{line} is missing in {unit}");
        }
    }
    let producer = page("docs/deploy/systemd/clicktrail-producer.service");
    assert!(producer.contains("WorkingDirectory=%S/clicktrail\n"));
    // Every path that `serve` writes is in the state folder.
    for name in ["OUTBOX", "LINKS_DB", "LINKS_SNAPSHOT"] {
        let line = format!("Environment=CLICKTRAIL_{name}=%S/clicktrail/");
        assert!(producer.contains(&line), "{line}");
    }
}

#[test]
fn every_secret_of_the_compose_file_is_required_and_has_an_example() {
    let compose = page("docker-compose.yml");
    let asked: BTreeSet<_> = compose
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').unwrap().0.split_once(":?"))
        .map(|(name, _)| name.to_owned())
        .collect();
    let example: BTreeSet<_> = page(".env.example")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    assert_eq!(asked, example);
    for line in compose.lines().filter(|line| line.contains("PASSWORD: ")) {
        assert!(line.contains(":?"), "a secret in the file: {line}");
    }
}

#[test]
fn every_part_has_the_addresses_at_which_the_others_listen() {
    let redpanda = words(&service("redpanda")["command"]).join(" ");
    for (_, service) in ours() {
        for (name, value) in environment(&service) {
            match name.as_str() {
                "KAFKA_BROKERS" => assert!(redpanda.contains(&format!("internal://{value}"))),
                "SCHEMA_REGISTRY_URL" => {
                    let port = value.strip_prefix("http://redpanda:").unwrap();
                    let listens = format!("schema-registry-addr=internal://0.0.0.0:{port}");
                    assert!(redpanda.contains(&listens));
                }
                "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                    let collector = yaml("deploy/otel/collector.yaml");
                    let listens =
                        collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].as_str();
                    assert_eq!(value, listens.unwrap().replace("0.0.0.0", "http://otel-collector"));
                }
                "CLICKHOUSE_USER" => {
                    assert!(page("deploy/clickhouse/users.xml").contains(&format!("<{value}>")));
                }
                _ => {}
            }
        }
    }
    // The users, their rights and their passwords.
    let users = page("deploy/clickhouse/users.xml");
    let clickhouse = environment(&service("clickhouse"));
    for name in users.split("from_env=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(clickhouse.iter().any(|(own, _)| own == name), "ClickHouse does not get {name}");
    }
    let sources = yaml("dashboards/provisioning/datasources/clicktrail.yaml");
    let source = &sources["datasources"][0];
    assert_eq!(source["jsonData"]["username"], "grafana");
    assert_eq!(source["jsonData"]["defaultDatabase"], "clicktrail");
    assert!(users.contains("<grafana>") && users.contains("<readonly>1</readonly>"));
    let password = source["secureJsonData"]["password"].as_str().unwrap().trim_start_matches('$');
    assert!(environment(&service("grafana")).iter().any(|(name, _)| name == password));
    let dashboards = yaml("dashboards/provisioning/dashboards/clicktrail.yaml");
    let folder = dashboards["providers"][0]["options"]["path"].as_str().unwrap();
    let mounted = words(&service("grafana")["volumes"]);
    for name in DASHBOARDS {
        let mount = format!("./dashboards/{name}.json:{folder}/{name}.json:ro");
        assert!(mounted.contains(&mount), "{mount}");
    }
    for source in sources["datasources"].as_array().unwrap() {
        let Some(url) = source["url"].as_str() else { continue };
        let (name, port) = url.strip_prefix("http://").unwrap().split_once(':').unwrap();
        let published = words(&service(name)["ports"]);
        assert!(published.contains(&format!("127.0.0.1:{port}:{port}")), "{url}: {published:?}");
        assert!(!networks(name).is_disjoint(&networks("grafana")), "Grafana does not reach {url}");
    }
    // Prometheus' alerts are shown with the Alertmanager that sends them.
    let of_type = |kind: &str| {
        let mut all = sources["datasources"].as_array().unwrap().iter();
        all.find(|source| source["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    };
    let [prometheus, alertmanager] = ["prometheus", "alertmanager"].map(of_type);
    assert_eq!(prometheus["jsonData"]["manageAlerts"], true);
    assert_eq!(prometheus["jsonData"]["alertmanagerUid"], alertmanager["uid"]);
    assert_eq!(alertmanager["jsonData"]["implementation"], "prometheus");
    let sends_to = yaml("deploy/prometheus/alertmanagers.yml")[0]["targets"][0].clone();
    assert_eq!(alertmanager["url"], format!("http://{}", sends_to.as_str().unwrap()));
    // The image reads /etc/prometheus/prometheus.yml, and the paths in it are relative.
    let mounted = words(&service("prometheus")["volumes"]);
    assert!(mounted.contains(&"./deploy/prometheus:/etc/prometheus:ro".to_owned()));
    let scraped = yaml("deploy/prometheus/prometheus.yml");
    assert_eq!(scraped["rule_files"], serde_json::json!(["rules/*.yml"]));
    for job in scraped["scrape_configs"].as_array().unwrap() {
        let place = &job["dns_sd_configs"][0];
        if job["job_name"] == "clickhouse" {
            let port = format!(
                "<prometheus>\n        <endpoint>/metrics</endpoint>\n        <port>{}</port>",
                place["port"]
            );
            assert!(page("deploy/clickhouse/config.xml").contains(&port), "{job}");
            assert!(!networks("clickhouse").is_disjoint(&networks("prometheus")), "{job}");
            continue;
        }
        let set = environment(&service(place["names"][0].as_str().unwrap()));
        let listens = format!("0.0.0.0:{}", place["port"]);
        assert!(set.iter().any(|(_, value)| *value == listens), "{job}");
    }
}

#[test]
fn the_image_is_built_by_the_pinned_compiler_and_runs_without_root() {
    let dockerfile = page("deploy/Dockerfile");
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(dockerfile.contains(&format!("FROM rust:{version}-bookworm AS build")));
    assert!(dockerfile.contains("\nUSER 65532:65532\n"));
    let compose = service("producer");
    assert_eq!(compose["build"]["dockerfile"], "deploy/Dockerfile");
    let exposed = dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    for (_, service) in ours() {
        for (_, value) in environment(&service) {
            if let Some(port) = value.strip_prefix("0.0.0.0:") {
                assert!(exposed.split(' ').any(|own| own == port), "{port} is not exposed");
            }
        }
    }
    // The build context has all files that cargo needs.
    let ignored = page(".dockerignore");
    for member in page("Cargo.toml")
        .split("members = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap()
        .split('"')
        .skip(1)
        .step_by(2)
    {
        let folder = member.split('/').next().unwrap();
        assert!(ignored.lines().any(|line| line == format!("!{folder}")), "{member}");
    }
}

#[test]
fn the_printed_sql_makes_the_tables_that_setup_makes() {
    let world = World::new("printed_sql");
    world.setup();
    let mut command = world.command("processors", &[]);
    command.args(["setup", "--print"]);
    let printed = world.start(command).end().expect_code(0).out;
    world.query("DROP VIEW clicks");
    world.query("DROP TABLE click_versions");
    for statement in printed.split(";\n").map(|statement| statement.trim().trim_end_matches(';')) {
        let is_comment = statement.lines().all(|line| line.starts_with("--"));
        if !is_comment && !statement.starts_with("USE") {
            world.ask(statement, &[]).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    assert_eq!(world.clicks(), 0);
}

#[test]
fn a_health_check_reports_the_state_of_the_service() {
    let world = World::new("healthcheck");
    world.setup();
    let mut server = world.serve(r#"{"slug":"a","url":"https://example.com/"}"#, &[]);
    let mut processors = world.processors(&[], &[]);
    let ask = |program: &str, admin: &str| {
        let mut command = world.command(program, &[]);
        command.args(["healthcheck", "--admin-listen", admin.trim_start_matches("http://")]);
        world.start(command).end()
    };
    for (program, admin) in [("producer", &server.admin), ("processors", &processors.admin)] {
        let exit = ask(program, admin).expect_code(0);
        assert!(exit.out.starts_with("ready"), "{exit:?}");
    }
    let gone = server.admin.clone();
    server.stop().expect_code(0);
    processors.stop().expect_code(0);
    let exit = ask("producer", &gone).expect_code(75);
    assert!(exit.err.contains("does not answer"), "{exit:?}");
}

/// The child process of `parent`.
fn child_of(parent: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

/// Program, arguments and variables; its exit code, and the log line that shows its readiness.
type FirstProcess<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

#[test]
fn the_first_process_of_a_container_ends_on_sigterm() {
    let world = World::new("first_process");
    world.setup();
    let links = world.folder().join("links.jsonl");
    std::fs::write(&links, r#"{"slug":"a","url":"https://example.com/"}"#).unwrap();
    let closed_broker = closed_port().to_string();
    let links = links.display().to_string();
    let zero = "127.0.0.1:0";
    let cases: [FirstProcess<'_>; 4] = [
        ("processors", &["run", "--admin-listen", zero], &[], 0, "running"),
        (
            "producer",
            &["serve", "--links", &links, "--listen", zero, "--admin-listen", zero],
            &[],
            0,
            "serving",
        ),
        // Still waiting for a server that does not exist.
        (
            "processors",
            &["setup", "--wait-seconds", "600"],
            &[("KAFKA_BROKERS", &closed_broker), ("CLICKTRAIL_LOG", "debug")],
            143,
            "setup retries",
        ),
        (
            "processors",
            &["audit", "--follow", "--admin-listen", zero],
            &[],
            0,
            "the continuous audit has started",
        ),
    ];
    for (program, args, set, code, sign) in cases {
        let ours = world.command(program, set);
        // Its own process namespace, in which the program is process 1.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]);
        command.arg(ours.get_program()).args(args);
        for (name, value) in ours.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut outer = world.start(command);
        let id = outer.id();
        let inner = outer.until("the first process", || child_of(id));
        until("it has started its work", || outer.log().contains(sign).then_some(()));
        let inner = rustix::process::Pid::from_raw(inner).unwrap();
        rustix::process::kill_process(inner, Signal::TERM).unwrap();
        let exit = outer.end();
        assert_eq!(exit.code, Some(code), "{program} {args:?}: {exit:?}");
    }
}
