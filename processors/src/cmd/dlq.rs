//! `processors dlq`: dead letters, from their groups to their redrive.

pub(in crate::cmd) mod actor;
mod discard;
mod edit;
mod editor;
mod groups;
mod jobs;
mod known_schemas;
mod letter_lines;
mod ls;
mod next_command;
mod no_match;
mod redrive;
mod reopen;
mod show;
mod state_change;
pub(in crate::cmd) mod table;

use broker::ServerError;
use clap::{Args, Subcommand};

use crate::config::Servers;

/// Arguments of `dlq`.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(subcommand)]
    action: DlqAction,
}

#[derive(Debug, Subcommand)]
enum DlqAction {
    /// Discard dead letters, which then never become rows; ask first.
    Discard(discard::DiscardArgs),
    /// Edit the record of one dead letter; store what later redrives send, and send nothing.
    Edit(edit::EditArgs),
    /// Count dead letters by error code, message and schema; begin here.
    Groups(groups::GroupsArgs),
    /// List jobs, or show, cancel or tune one.
    Jobs(jobs::JobsArgs),
    /// List dead letters, those that failed last first.
    Ls(ls::LsArgs),
    /// Send copies of dead letters to the source topic, and report what becomes of them. Without a filter,
    /// every open and every failed-again dead letter of the topic is sent again.
    Redrive(Box<redrive::RedriveArgs>),
    /// Revoke that dead letters are discarded, parked or resolved.
    Reopen(reopen::ReopenArgs),
    /// Print one dead letter: location, failures, events, headers, and its value as far as it decodes.
    Show(show::ShowArgs),
}

impl DlqArgs {
    /// Whether the command ends by itself on a signal, after it has stored its state.
    pub(super) fn handles_signals(&self) -> bool {
        match self.action {
            DlqAction::Edit(_) | DlqAction::Redrive(_) => true,
            DlqAction::Discard(_)
            | DlqAction::Groups(_)
            | DlqAction::Jobs(_)
            | DlqAction::Ls(_)
            | DlqAction::Reopen(_)
            | DlqAction::Show(_) => false,
        }
    }
}

pub(super) async fn dlq(args: DlqArgs) -> Result<u8, ServerError> {
    let servers = &args.servers;
    match args.action {
        DlqAction::Discard(args) => discard::discard(servers, args).await,
        DlqAction::Edit(args) => edit::edit(servers, args).await,
        DlqAction::Groups(args) => groups::groups(servers, args).await,
        DlqAction::Jobs(args) => jobs::jobs(servers, args).await,
        DlqAction::Ls(args) => ls::ls(servers, args).await,
        DlqAction::Redrive(args) => redrive::redrive(servers, *args).await,
        DlqAction::Reopen(args) => reopen::reopen(servers, args).await,
        DlqAction::Show(args) => show::show(servers, args).await,
    }
}
