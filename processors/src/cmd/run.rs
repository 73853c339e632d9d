//! `processors run`: processes clicks until a signal.

use broker::ServerError;
use clap::Args;

use crate::config::{RulesArgs, RunArgs, Servers};
use crate::exit::print_line;
use crate::run::processor::Processor;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(args: RunCommand) -> Result<(), ServerError> {
    let shutdown = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let processor = Processor::start(&args.servers, &args.run, &args.rules, shutdown).await?;
    if let Some(metrics) = processor.run().await? {
        print_line(format_args!(
            "run: records={} rows={} batches={}",
            metrics.records.get(),
            metrics.rows.get(),
            metrics.batches.get()
        ));
    }
    Ok(())
}
