//! `producer import`: imports access logs and prints what became of their lines.

use service::shutdown;

use crate::config::ImportArgs;
use crate::exit::{self, Exit, Failure};
use crate::import::{ImportCounts, ImportReport, Importer, MALFORMED_PRINTED_MAX};

/// Runs the import.
///
/// # Errors
/// What keeps it from starting, or a file that cannot be read.
pub async fn run(args: ImportArgs) -> Result<Exit, Failure> {
    let stopped = shutdown::on_signal().map_err(Failure::invariant)?;
    let is_strict = args.strict;
    let Some(importer) = Importer::open(args, stopped).await? else {
        return Ok(Exit::Unavailable);
    };
    let imported = tokio::task::spawn_blocking(move || importer.run());
    finish(imported.await.map_err(Failure::invariant)?, is_strict)
}

fn finish(report: ImportReport, is_strict: bool) -> Result<Exit, Failure> {
    let ImportReport { counts, delivered, waiting, undelivered, elapsed, is_stopped, read } =
        report;
    let ImportCounts { lines, clicks, withheld, malformed } = counts;
    if let Some(more) = malformed.checked_sub(MALFORMED_PRINTED_MAX).filter(|more| *more > 0) {
        exit::print_error(&format!("and {more} more malformed lines"));
    }
    exit::print_line(&format!(
        "import: lines={lines} clicks={clicks} withheld={withheld} malformed={malformed} \
         delivered={delivered} waiting={waiting} undelivered={undelivered} seconds={:.1}",
        elapsed.as_secs_f64(),
    ));
    read.map_err(Failure::configuration)?;
    if is_stopped {
        exit::print_error(
            "stopped before the end; importing again continues without counting twice",
        );
    }
    if undelivered > 0 || waiting > 0 || is_stopped {
        Ok(Exit::Unavailable)
    } else if malformed > 0 && is_strict {
        Ok(Exit::Data)
    } else {
        Ok(Exit::Done)
    }
}
