//! `processors dashboards`: checks the dashboards of Grafana without Grafana.

use std::path::PathBuf;

use broker::ServerError;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use url::Url;

use crate::clickhouse::filter_time::filter_time;
use crate::config::ClickhouseArgs;
use crate::dashboard_check::check_lines::{is_wrong, lines};
use crate::dashboard_check::{CheckPlan, check};
use crate::exit::{DIFFERS, DONE, print_line};

/// Arguments of `dashboards`.
#[derive(Debug, Args)]
pub struct DashboardsArgs {
    #[command(subcommand)]
    action: DashboardsAction,
}

#[derive(Debug, Subcommand)]
enum DashboardsAction {
    /// Check the files, run each query of panels, variables and annotations as Grafana does, also with attacks as the
    /// values of filters, and report panels without data. Run it as the user of Grafana, which may only read.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    clickhouse: ClickhouseArgs,
    /// Folder of the files; without it, the dashboards of this version are checked.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Base URL of Prometheus; without it, its queries are skipped.
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<Url>,
    /// Begin of the time range: a time (RFC 3339) or an age such as 7d.
    #[arg(long, value_name = "TIME", value_parser = filter_time, default_value = "7d")]
    from: Timestamp,
    /// End of the time range.
    #[arg(long, value_name = "TIME", value_parser = filter_time, default_value = "0s")]
    to: Timestamp,
    /// Time zone of the viewer.
    #[arg(long, value_name = "ZONE", value_parser = zone, default_value = "UTC")]
    zone: String,
    /// The value of a variable, in place of its default; repeat it for several variables.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
}

impl DashboardsArgs {
    /// The address of each server, with the name of its setting.
    pub(super) fn servers(&self) -> String {
        let DashboardsAction::Check(args) = &self.action;
        args.clickhouse.named()
    }
}

/// Checks; exit code 1 when something is wrong.
pub(super) async fn dashboards(args: DashboardsArgs) -> Result<u8, ServerError> {
    let DashboardsAction::Check(args) = args.action;
    let (from, to) = (args.from.as_second(), args.to.as_second());
    if from >= to {
        let text = format!("--from {} is not before --to {}", args.from, args.to);
        return Err(ServerError::fatal("dashboard_argument", text));
    }
    let plan = CheckPlan {
        folder: args.dir,
        server: args.clickhouse.server()?,
        prometheus: args.prometheus_url,
        from,
        to,
        zone: args.zone,
        values: args.variables,
    };
    let report = check(&plan).await?;
    lines(&report).iter().for_each(print_line);
    Ok(if is_wrong(&report) { DIFFERS } else { DONE })
}

fn zone(text: &str) -> Result<String, String> {
    let known = TimeZone::get(text);
    known.map(|_| text.to_owned()).map_err(|_| "not a time zone such as Europe/Berlin".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_any_value() {
        assert_eq!(variable("link=a=b"), Ok(("link".to_owned(), "a=b".to_owned())));
        assert_eq!(variable("link="), Ok(("link".to_owned(), String::new())));
        assert!(variable("link").is_err());
        assert!(variable("=a").is_err());
        assert!(zone("Europe/Berlin").is_ok());
        assert!(zone("Mars/Base").is_err());
    }
}
