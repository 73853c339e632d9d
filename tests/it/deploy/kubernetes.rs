//! The Kubernetes example agrees with the code: commands and variables, admin ports, mounts and kill timeouts.

use std::collections::BTreeMap;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::meta::source::page;

/// Stands for a value that a secret or a field of the pod gives.
const GIVEN: &str = "given";
/// The default drain timeout in seconds; a test of the compose file compares it with the code.
const DRAIN: u64 = 30;

/// A container of ours, with the pod around it.
#[derive(Debug)]
struct Workload {
    kind: String,
    name: String,
    /// The template of its pods.
    pod: Value,
    container: Value,
    /// Names of volumes that the workload claims.
    claims: Vec<String>,
    variables: BTreeMap<String, String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The elements of an array; none where it is absent.
fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn documents() -> Vec<Value> {
    let page = page("docs/deploy/kubernetes.yaml");
    let parse = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    page.split("\n---\n").map(parse).collect()
}

fn workloads(documents: &[Value]) -> Vec<Workload> {
    let config = documents.iter().find(|own| own["kind"] == "ConfigMap").unwrap();
    let shared = config["data"].as_object().unwrap().iter();
    let shared: BTreeMap<_, _> = shared.map(|(name, value)| (name.clone(), text(value))).collect();
    let of_pods = documents.iter().filter(|own| own["spec"]["template"].is_object());
    let workload = |document: &Value| {
        let pod = document["spec"]["template"].clone();
        let container = pod["spec"]["containers"][0].clone();
        assert_eq!(container["envFrom"][0]["configMapRef"]["name"], config["metadata"]["name"]);
        let mut variables = shared.clone();
        variables
            .extend(elements(&container["env"]).map(|own| {
                (text(&own["name"]), own["value"].as_str().unwrap_or(GIVEN).to_owned())
            }));
        let claims = elements(&document["spec"]["volumeClaimTemplates"]);
        let claims = claims.map(|own| text(&own["metadata"]["name"])).collect();
        let (kind, name) = (text(&document["kind"]), text(&container["name"]));
        Workload { kind, name, pod, container, claims, variables }
    };
    of_pods.map(workload).collect()
}

/// The command line, in which each variable is a flag behind the command that reads it.
fn command_line(workload: &Workload) -> (clap::Command, Vec<String>) {
    let words: Vec<_> = elements(&workload.container["command"]).map(text).collect();
    let command = match words[0].as_str() {
        "producer" => producer::config::Cli::command(),
        "processors" => processors::cmd::Cli::command(),
        other => panic!("{other} is no program of ours"),
    };
    let mut built = command.clone();
    built.build();
    let (mut level, mut all) = (&built, vec![words[0].clone()]);
    let mut unread: BTreeMap<_, _> = workload.variables.iter().collect();
    for word in &words[1..] {
        all.push(word.clone());
        let Some(inner) = level.find_subcommand(word) else { continue };
        level = inner;
        for argument in inner.get_arguments() {
            let name = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(value) = unread.remove(&name.to_owned()) else { continue };
            all.push(format!("--{}={value}", argument.get_long().unwrap()));
        }
    }
    // All workloads get the variables of the servers; the producer does not know ClickHouse.
    unread.retain(|name, _| !(words[0] == "producer" && name.starts_with("CLICKHOUSE_")));
    assert!(unread.is_empty(), "{} does not read {unread:?}", workload.name);
    (command, all)
}

#[test]
fn each_workload_has_a_command_that_reads_all_of_its_variables() {
    let workloads = workloads(&documents());
    let names: Vec<_> =
        workloads.iter().map(|own| (own.kind.as_str(), own.name.as_str())).collect();
    let expected = [
        ("Job", "setup"),
        ("StatefulSet", "producer"),
        ("StatefulSet", "processors"),
        ("Deployment", "audit"),
        ("Job", "replay"),
    ];
    assert_eq!(names, expected);
    for workload in &workloads {
        let (command, line) = command_line(workload);
        let parsed = command.try_get_matches_from(&line);
        parsed.unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
}

#[test]
fn probes_scrapes_and_policies_name_the_admin_port_of_each_workload() {
    let documents = documents();
    for Workload { kind, name, pod, container, variables, .. } in workloads(&documents) {
        let app = &pod["metadata"]["labels"]["app"];
        let of_app = |own: &&Value| {
            own["kind"] == "NetworkPolicy"
                && own["spec"]["podSelector"]["matchLabels"]["app"] == *app
        };
        let policy = documents.iter().find(of_app);
        assert_eq!(policy.is_some(), app.is_string(), "{name}");
        let listens = variables.iter().find(|(own, _)| own.ends_with("ADMIN_LISTEN"));
        let port = listens.map(|(_, value)| value.strip_prefix("0.0.0.0:").unwrap());
        let annotation = pod["metadata"]["annotations"]["prometheus.io/port"].as_str();
        assert_eq!(annotation, port, "{name} is not scraped there");
        let number: Value = port.map_or(Value::Null, |port| port.parse::<u64>().unwrap().into());
        for probe in ["readinessProbe", "livenessProbe"] {
            // A job that ends by itself has none.
            let port = if kind == "Job" { &Value::Null } else { &number };
            assert_eq!(container[probe]["httpGet"]["port"], *port, "{name} {probe}");
        }
        if let Some(policy) = policy.filter(|_| port.is_some()) {
            let admitted = elements(&policy["spec"]["ingress"]).last().unwrap();
            assert_eq!(admitted["ports"][0]["port"], number, "{name}");
            assert!(
                elements(&container["ports"]).any(|own| own["containerPort"] == number),
                "{name}"
            );
        }
    }
}

#[test]
fn each_mount_has_a_volume_what_is_sorted_has_a_folder_and_stops_have_time() {
    for Workload { name, pod, container, claims, variables, .. } in workloads(&documents()) {
        let spec = &pod["spec"];
        let volumes: Vec<_> = elements(&spec["volumes"]).map(|own| text(&own["name"])).collect();
        let mounts: Vec<_> = elements(&container["volumeMounts"]).collect();
        for mount in &mounts {
            let of = text(&mount["name"]);
            assert!(volumes.contains(&of) || claims.contains(&of), "{name} has no volume {of}");
        }
        // The root is read-only.
        let sorts = variables.contains_key("CLICKTRAIL_AUDIT_MEMORY_MIB");
        assert_eq!(mounts.iter().any(|own| own["mountPath"] == "/tmp"), sorts, "{name}");
        assert_eq!(sorts, ["audit", "replay"].contains(&name.as_str()), "{name}");
        let grace = spec["terminationGracePeriodSeconds"].as_u64();
        let drains = ["producer", "processors", "replay"].contains(&name.as_str());
        assert!(!drains || grace.unwrap() > DRAIN + 5, "{name} is killed while it drains");
        assert_eq!(spec["restartPolicy"] == "Never", name == "setup" || name == "replay", "{name}");
    }
}
