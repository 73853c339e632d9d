//! `producer visitor-keys`: the days that have a key, and how one is forgotten.

use anyhow::Context as _;

use crate::config::{VisitorKeysAction, VisitorKeysArgs, keys_folder};
use crate::day_keys::{KeyStore as _, day_name};
use crate::exit::{self, Exit, Failure};

/// Lists keys, or deletes one.
///
/// # Errors
/// The folder cannot be read, or there is no such key.
pub fn run(args: &VisitorKeysArgs) -> Result<Exit, Failure> {
    let folder = keys_folder(args.visitor_keys.as_deref(), &args.outbox);
    let folder = folder.map_err(Failure::configuration)?;
    match args.action {
        VisitorKeysAction::List => {
            let days = folder.days().context("visitor keys").map_err(Failure::configuration)?;
            days.into_iter().for_each(|day| exit::say(&day_name(day)));
        }
        VisitorKeysAction::Forget { day } => {
            let name = day_name(day);
            let forgotten = folder.forget_day(day).with_context(|| name.clone());
            match forgotten.map_err(Failure::configuration)? {
                true => exit::say(&format!("forgotten {name}")),
                false => return Err(Failure::configuration(anyhow::anyhow!("no key of {name}"))),
            }
        }
    }
    Ok(Exit::Done)
}
