//! `producer links`: creates, changes and shows links.
//!
//! It opens the store itself, so it works while no `serve` runs. A change is the same transaction as one
//! of the admin API, and a process that may open the store needs no token.

use std::path::Path;

use crate::clock::now;
use crate::config::links::{AddArgs, LinksAction, LinksArgs, SetArgs};
use crate::exit::{Exit, Failure, print_line};
use crate::links::link_entry::LinkEntry;
use crate::links::link_file;
use crate::links::store::Store;
use crate::links::store::change::{Change, Edit};

/// Links read at once.
const PAGE: u32 = 1000;

/// Runs one action.
///
/// # Errors
/// The action is refused or fails; nothing has changed then.
pub fn run(args: &LinksArgs) -> Result<Exit, Failure> {
    let store = Store::open(&args.store.links_db).map_err(Failure::from)?;
    let mut store = store.with_slug_case(args.slugs.slug_case);
    match &args.action {
        LinksAction::Add(args) => change(&mut store, Change::Add(entry(args)?)),
        LinksAction::Set(args) => {
            let edit = edit(args)?;
            change(&mut store, Change::Edit { id: args.id.clone(), edit })
        }
        LinksAction::Disable(args) => {
            let edit = Edit { disabled: Some(true), ..Edit::default() };
            change(&mut store, Change::Edit { id: args.id.clone(), edit })
        }
        LinksAction::Delete(args) => {
            store.change(&Change::Delete { id: args.id.clone() }, now()).map_err(Failure::from)?;
            print_line(&format!("deleted {}", args.id));
            Ok(Exit::Done)
        }
        LinksAction::Show(args) => {
            let found = store.get(&args.id).map_err(Failure::from)?.filter(|link| !link.deleted);
            let missing = || anyhow::anyhow!("there is no link {:?}: see `links list`", args.id);
            print_line(&found.ok_or_else(missing).map_err(Failure::data)?.line());
            Ok(Exit::Done)
        }
        LinksAction::List(args) => pages(&mut store, &args.after, u64::from(args.limit)),
        LinksAction::Export => pages(&mut store, "", u64::MAX),
        LinksAction::Import(args) => import(&mut store, &args.file),
        LinksAction::Republish => {
            print_line(&format!("queued {} links", store.republish().map_err(Failure::from)?));
            Ok(Exit::Done)
        }
    }
}

fn change(store: &mut Store, change: Change) -> Result<Exit, Failure> {
    print_line(&store.change(&change, now()).map_err(Failure::from)?.entry().line());
    Ok(Exit::Done)
}

fn entry(args: &AddArgs) -> Result<LinkEntry, Failure> {
    let mut line = serde_json::json!({ "slug": args.slug, "url": args.url });
    let optional = [
        ("id", args.id.clone().map(Into::into)),
        ("domain", args.domain.clone().map(Into::into)),
        ("status", args.status.map(Into::into)),
        ("expires", args.expires.clone().map(Into::into)),
        ("pass_query", args.pass_query.then_some(true.into())),
        ("opt_out", args.opt_out.then_some(true.into())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            line[name] = value;
        }
    }
    LinkEntry::parse(&line.to_string()).map_err(Failure::data)
}

fn edit(args: &SetArgs) -> Result<Edit, Failure> {
    let edit = Edit {
        url: args.url.clone(),
        status: args.status,
        disabled: args.disabled,
        expires: args.expires.clone(),
        pass_query: args.pass_query,
        opt_out: args.opt_out,
    };
    if edit == Edit::default() {
        return Err(Failure::usage(anyhow::anyhow!("nothing to change: see `links set --help`")));
    }
    Ok(edit)
}

fn pages(store: &mut Store, after: &str, mut left: u64) -> Result<Exit, Failure> {
    let mut after = after.to_owned();
    while left > 0 {
        let limit = u32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
        let page = store.page(&after, limit).map_err(Failure::from)?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        left -= page.len() as u64;
        page.iter().for_each(|link| print_line(&link.line()));
    }
    Ok(Exit::Done)
}

fn import(store: &mut Store, path: &Path) -> Result<Exit, Failure> {
    let name = path.display().to_string();
    let entries = match name.as_str() {
        "-" => link_file::entries(std::io::stdin().lock(), &name),
        _ => link_file::entries(link_file::open(path)?, &name),
    };
    let entries = entries.map_err(Failure::data)?;
    let imported = store.import(&entries, now()).map_err(Failure::from)?;
    let (added, changed, same) = (imported.added, imported.changed, imported.same);
    print_line(&format!("links: added={added} changed={changed} same={same}"));
    Ok(Exit::Done)
}
