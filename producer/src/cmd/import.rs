//! `producer import`: imports access logs and prints how many lines had which result.

use service::shutdown;

use crate::config::ImportArgs;
use crate::exit::{self, Exit, Failure};
use crate::import::{ImportCounts, ImportReport, Importer, MALFORMED_PRINTED_MAX};

/// Runs the import.
///
/// # Errors
/// The import cannot start, or a file cannot be read; it imports the others.
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
    let ImportReport { counts, delivered, waiting, undelivered, elapsed, is_stopped } = report;
    let ImportCounts { lines, clicks, withheld, malformed, .. } = counts;
    let ImportCounts { without_client, without_host, without_agent, unread_files, .. } = counts;
    if let Some(more) = malformed.checked_sub(MALFORMED_PRINTED_MAX).filter(|more| *more > 0) {
        exit::print_error(&format!("and {more} more malformed lines"));
    }
    exit::print_line(&format!(
        "import: lines={lines} clicks={clicks} withheld={withheld} malformed={malformed} \
         without_client={without_client} without_host={without_host} \
         without_agent={without_agent} unread_files={unread_files} delivered={delivered} \
         waiting={waiting} undelivered={undelivered} seconds={:.1}",
        elapsed.as_secs_f64(),
    ));
    if is_stopped {
        exit::print_error(
            "stopped before the end: import the files again, which counts no click twice",
        );
    }
    if unread_files > 0 {
        let why = anyhow::anyhow!("{unread_files} files could not be read to their end");
        Err(Failure::configuration(why))
    } else if undelivered > 0 || waiting > 0 || is_stopped {
        Ok(Exit::Unavailable)
    } else if malformed > 0 && is_strict {
        Ok(Exit::Data)
    } else {
        Ok(Exit::Done)
    }
}
