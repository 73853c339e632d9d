//! The dashboard *Pipeline*: from the redirect to the row, for operators.

use crate::generate::annotations::annotations;
use crate::generate::badge::badge;
use crate::generate::page::Page;
use crate::generate::pipeline_delivery as delivery;
use crate::generate::pipeline_processing as processing;
use crate::generate::pipeline_records as records;
use crate::generate::variable_list;

const NAME: &str = "pipeline";

/// The dashboard.
pub(crate) fn pipeline() -> Page {
    Page::new(
        NAME,
        "Pipeline",
        "Whether clicks reach the table, how late, and what is left to do. It has no filters: all figures are of all clicks.",
    )
    .time("now-3h", "30s")
    .variables(variable_list::carried([variable_list::traffic("people"), variable_list::compare()]))
    .variables(variable_list::carried(variable_list::filters()))
    .annotations(annotations())
    .panels(&badge(12))
    .panel(&processing::now())
    .panel(&processing::throughput())
    .panel(&processing::lag())
    .panel(&processing::delay())
    .section("Redirects")
    .panel(&delivery::latency())
    .panel(&delivery::answers())
    .panel(&delivery::limits())
    .panel(&delivery::lost_clicks())
    .section("From the producer to the log")
    .panel(&delivery::outbox())
    .panel(&delivery::outbox_age())
    .panel(&delivery::outbox_room())
    .panel(&delivery::delivery())
    .panel(&delivery::relay())
    .panel(&delivery::hosts())
    .section("From the log to the table")
    .panel(&processing::insert_latency())
    .panel(&processing::insert_size())
    .panel(&processing::parts())
    .panel(&processing::retries())
    .panel(&processing::bounds())
    .panel(&processing::positions())
    .section("Dead letters")
    .panel(&records::dead_letter_groups())
    .panel(&records::dead_letters_held())
    .panel(&records::dead_letters_written())
    .section("Balance")
    .panel(&records::audit_findings())
    .panel(&records::audit_runs())
    .panel(&records::verdicts())
    .section("Replays")
    .panel(&records::replays())
    .panel(&records::replay_progress())
    .panel(&records::jobs())
    .section("Rules")
    .panel(&records::stale_rows())
    .panel(&records::rule_tables())
    .section("Links")
    .panel(&delivery::links())
    .panel(&delivery::link_records())
    .section("Hosts")
    .panel(&processing::processes())
    .panel(&processing::disks())
}
