//! Prometheus and Alertmanager with the shipped files, in which every duration is divided by 60.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;
use stack::Part;

use crate::backends::root;
use crate::http_client;
use crate::own_stack::OwnStack;
use crate::post_receiver::PostReceiver;
use crate::wait::until;

const PATH: &str = "/page";

/// A running Prometheus, a running Alertmanager, and the receiver of its webhook.
#[derive(Debug)]
pub struct DividedAlerts {
    stack: OwnStack,
    receiver: PostReceiver,
}

impl DividedAlerts {
    /// Starts them with some files of rules. `targets` has a job and the admin port (`http://…`) that it scrapes;
    /// the other jobs have no target.
    ///
    /// # Panics
    /// When one does not start, or a shipped file has another form.
    pub fn start(targets: &[(&str, &str)], rules: &[String]) -> Self {
        let receiver = PostReceiver::start(PATH);
        let page = format!("{}{PATH}", receiver.url());
        let prometheus = replaced(&shipped("prometheus.yml"), "rules/*.yml", "divided/*.yml");
        let alertmanager = replaced(&shipped("alertmanager.yml"), "http://127.0.0.1:9095/", &page);
        let mut files = vec![
            ("prometheus/prometheus.yml".to_owned(), of_targets(&prometheus, targets)),
            ("alertmanager/alertmanager.yml".to_owned(), alertmanager),
        ];
        files.extend(
            rules.iter().map(|name| {
                (format!("prometheus/divided/{name}"), shipped(&format!("rules/{name}")))
            }),
        );
        Self { stack: OwnStack::with_alerts(&files), receiver }
    }

    /// The address of Prometheus.
    ///
    /// # Panics
    /// Never, while it runs.
    pub fn prometheus(&self) -> SocketAddr {
        self.stack.ports().expect("a stack has ports").address(Part::Prometheus)
    }

    /// Waits until the last call of the webhook for an alert has this status, and returns the call.
    pub fn call(&self, alert: &str, status: &str) -> Value {
        until(&format!("a call of the webhook: {alert} {status}"), || {
            self.last_call(alert).filter(|call| call["status"] == status)
        })
    }

    /// The last call of the webhook for an alert.
    ///
    /// # Panics
    /// When Alertmanager posts no JSON.
    pub fn last_call(&self, alert: &str) -> Option<Value> {
        let calls = self.receiver.bodies().into_iter();
        let mut calls =
            calls.map(|body| serde_json::from_slice(&body).expect("Alertmanager posts JSON"));
        calls.rfind(|call: &Value| call["groupLabels"]["alertname"] == alert)
    }

    /// The data of an answer of Prometheus' API, such as that of `targets`.
    ///
    /// # Panics
    /// When Prometheus refuses the request.
    pub fn api(&self, request: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{request}", self.prometheus());
        let url = reqwest::Url::parse_with_params(&url, parameters).expect("a URL");
        let answer = http_client::get(url.as_str()).expect("Prometheus answers");
        let mut answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(answer["status"], "success", "{url}: {answer:#}");
        answer["data"].take()
    }
}

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
            "d" => Some(86_400),
            _ => None,
        };
        let unit = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = word[..word.len() - unit.len()].parse::<u64>().ok();
        match number.zip(seconds(unit)) {
            Some((number, seconds)) => {
                write!(scaled, "{}ms", number * seconds * 1000 / 60).ok();
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
    let text = std::fs::read_to_string(&path);
    sixtieth(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Replaces a part of a text, which must be there once.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

/// The configuration with fixed targets in place of names.
fn of_targets(configuration: &str, targets: &[(&str, &str)]) -> String {
    let mut job = "";
    let mut rewrite = |line: &str| -> String {
        if let Some((_, name)) = line.split_once("job_name: ") {
            job = targets.iter().map(|(own, _)| *own).find(|own| *own == name).unwrap_or("");
        }
        let Some((indent, _)) = line.split_once("dns_sd_configs:") else {
            return format!("{line}\n");
        };
        let found = targets.iter().find(|(own, _)| *own == job);
        let address =
            found.map(|(_, admin)| format!("\"{}\"", admin.trim_start_matches("http://")));
        format!("{indent}static_configs: [{{targets: [{}]}}]\n", address.unwrap_or_default())
    };
    configuration.lines().map(&mut rewrite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_of_a_text_is_divided_by_sixty() {
        let text = "for: 5m\nx[6h], 15s; v3 9m9 1e3m :9095 m 250ms {state=~\"open\"} 30s 1d";
        let divided = "for: 5000ms\nx[360000ms], 250ms; v3 9m9 1e3m :9095 m 250ms \
            {state=~\"open\"} 500ms 1440000ms";
        assert_eq!(sixtieth(text), divided);
    }

    #[test]
    fn a_job_has_its_target_or_none() {
        let text = of_targets(&shipped("prometheus.yml"), &[("audit", "http://127.0.0.1:1")]);
        assert!(!text.contains("dns_sd"), "{text}");
        let audit = "job_name: audit\n    static_configs: [{targets: [\"127.0.0.1:1\"]}]\n";
        assert!(text.contains(audit), "{text}");
        assert!(
            text.contains("job_name: producer\n    static_configs: [{targets: []}]\n"),
            "{text}"
        );
    }
}
