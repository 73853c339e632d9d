//! `producer visitor-keys`: lists the days that have a key, and deletes keys.

use anyhow::Context as _;

use crate::client::day_keys::folder::day_name;
use crate::config::public::key_store;
use crate::config::{VisitorKeysAction, VisitorKeysArgs};
use crate::exit::{self, Exit, Failure};

/// Lists keys, or deletes one.
///
/// # Errors
/// The keys cannot be read, or there is no such key.
pub fn run(args: &VisitorKeysArgs) -> Result<Exit, Failure> {
    let keys = key_store(args.visitor_keys.as_deref(), &args.outbox, &args.store.links_db);
    let keys = keys.map_err(Failure::of_chain)?;
    match args.action {
        VisitorKeysAction::List => {
            let days = keys.days().context("visitor keys").map_err(Failure::of_chain)?;
            days.into_iter().for_each(|day| exit::print_line(&day_name(day)));
        }
        VisitorKeysAction::Forget { day } => {
            let name = day_name(day);
            let forgotten = keys.forget_day(day).with_context(|| name.clone());
            if !forgotten.map_err(Failure::of_chain)? {
                return Err(Failure::configuration(anyhow::anyhow!("there is no key of {name}")));
            }
            exit::print_line(&format!("forgotten {name}"));
        }
    }
    Ok(Exit::Done)
}
