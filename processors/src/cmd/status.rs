//! `processors status`: the state of all parts of the pipeline.

use std::io::IsTerminal as _;
use std::time::Duration;

use broker::ServerError;
use clap::Args;
use console::Term;
use records::dead_letters::shown_text::json_line;

use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, TEMPORARY, print_line};
use crate::status::findings::{StatusVerdict, findings};
use crate::status::{questions, status_lines, status_object};

/// Time from one look to the next.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusCommand {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Name of the consumer group of `processors run`.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    group: String,
    /// Admin ports of producers, processors and audit, host:port, comma-separated.
    #[arg(
        long,
        env = "CLICKTRAIL_SERVICES",
        value_name = "LIST",
        value_delimiter = ',',
        default_values = ["127.0.0.1:9180", "127.0.0.1:9181", "127.0.0.1:9182"]
    )]
    services: Vec<String>,
    /// Look again every two seconds until SIGTERM or SIGINT.
    #[arg(long)]
    watch: bool,
    /// Print one JSON object for each look.
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(args: StatusCommand) -> Result<u8, ServerError> {
    let services: Vec<String> = args.services.iter().map(|it| address(it)).collect();
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    loop {
        ticks.tick().await;
        let facts = questions::ask(&args.servers, &args.group, &services).await?;
        let findings = findings(&facts);
        let lines = match args.json {
            true => vec![json_line(&status_object::object(&facts, &findings))],
            false => status_lines::lines(&facts, &findings),
        };
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            // Without the sequence of the terminal, looks follow one another.
            Term::stdout().clear_screen().ok();
        }
        lines.iter().for_each(print_line);
        if !args.watch {
            return Ok(match StatusVerdict::of(&findings) {
                StatusVerdict::Healthy | StatusVerdict::Ticket => DONE,
                StatusVerdict::Wrong => DIFFERS,
                StatusVerdict::Unknown => TEMPORARY,
            });
        }
    }
}

/// The address of a URL, or of `host:port`.
fn address(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("http://").unwrap_or(text);
    text.split('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_admin_port_is_given_as_an_address_or_as_a_url() {
        for text in ["h:1", " h:1 ", "http://h:1", "http://h:1/", "http://h:1/metrics"] {
            assert_eq!(address(text), "h:1", "{text}");
        }
        assert_eq!(address("[::1]:9180"), "[::1]:9180");
    }
}
