//! `processors dlq edit`: a repair by hand. It stores the value that every later redrive sends, and sends
//! nothing.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use broker::ServerError;
use clap::Args;
use records::dead_letters::edit_form::{form, object, with_error};
use records::dead_letters::redrive_decision::{LetterLocation, SelectedLetter};
use records::dead_letters::repair::{EDIT, RepairInput, Repaired, edited};
use records::dead_letters::shown_text::{json_line, shown};
use records::dead_letters::state::DeadLetterState;
use schemas::{EditableClick, unframe};
use serde_json::json;
use service::shutdown::on_signal;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::dead_letter_events::{DeadLetterEvent, EventKind, add_events};
use crate::clickhouse::dead_letter_filter::OriginArgument;
use crate::clickhouse::dead_letter_queries::{self, ListedLetter};
use crate::clickhouse::dead_letter_repairs::{StoredRepair, add_repair, repairs_of};
use crate::clickhouse::server::Server;
use crate::cmd::dlq::actor::ActorArgs;
use crate::cmd::dlq::editor::{EditedFile, EditorArgs};
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, TERMINATED, USAGE, print_error, print_line};
use crate::redrive::record_source::RecordSource;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::registry::subject_schemas::SubjectSchemas;

/// Arguments of `dlq edit`.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// The dead letter: topic:partition:offset:log time, or partition:offset of the source topic.
    #[arg(value_name = "ORIGIN")]
    origin: OriginArgument,
    /// Print the record as the editor would show it, and store nothing.
    #[arg(long, conflicts_with = "file")]
    print: bool,
    /// Take the edited record from this file instead of an editor; --print writes the form of it.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Reason, stored with the repair.
    #[arg(long, default_value = "")]
    reason: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    editor: EditorArgs,
    #[command(flatten)]
    actor: ActorArgs,
}

/// A dead letter that is edited.
struct Opened {
    server: Server,
    letter: ListedLetter,
    /// The value that a redrive would send now.
    value: Vec<u8>,
    stored: Option<StoredRepair>,
    schemas: SubjectSchemas,
    newest: schemas::SchemaId,
}

pub(super) async fn edit(servers: &Servers, args: EditArgs) -> Result<u8, ServerError> {
    // A signal of the terminal goes to the editor too, which may ignore it.
    let stop = on_signal().map_err(|error| ServerError::fatal("signal_handler", error))?;
    let opened = stop.run_until_cancelled(open(servers, &args.origin, &stop)).await;
    let opened = match opened.unwrap_or(Err(Interrupt::Stopped)) {
        Ok(Ok(opened)) => opened,
        Ok(Err(code)) => return Ok(code),
        Err(Interrupt::Stopped) => return Ok(TERMINATED),
        Err(Interrupt::Failed(error)) => return Err(error),
    };
    if args.print {
        print_line(opened.form().trim_end());
        return Ok(DONE);
    }
    let repaired = match &args.file {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => opened.repaired(&text),
            Err(error) => Err(format!("{}: {error}", path.display())),
        },
        None => opened.edited_in(&args.editor).await,
    };
    if stop.is_cancelled() {
        return Ok(TERMINATED);
    }
    let repaired = match repaired {
        Ok(Some(repaired)) if repaired.value != opened.value => repaired,
        Ok(_) => {
            if args.json {
                let origin = opened.letter.origin.to_string();
                print_line(json_line(&json!({ "origin": origin, "stored": false })));
            } else {
                print_line("edit: nothing is changed, and nothing is stored");
            }
            return Ok(DONE);
        }
        Err(error) => {
            print_error(format_args!("the record is not edited: {error}"));
            return Ok(USAGE);
        }
    };
    let stored = stop.run_until_cancelled(store(&opened, &args, repaired)).await;
    stored.unwrap_or(Ok(TERMINATED))
}

/// Opens it, or prints why it cannot be edited and returns the exit code.
async fn open(
    servers: &Servers,
    origin: &OriginArgument,
    stop: &CancellationToken,
) -> Result<Result<Opened, u8>, Interrupt> {
    let server = servers.clickhouse.server()?;
    let topic = &servers.kafka.topic;
    let mut found = None;
    dead_letter_queries::list(&server, &origin.sql(topic.as_str()), 1, |letter| {
        found = Some(letter);
        Ok(())
    })
    .await?;
    let Some(letter) = found else {
        let origin = shown(&origin.to_string());
        print_error(format_args!("no dead letter {origin}: `processors dlq ls` lists them"));
        return Ok(Err(DIFFERS));
    };
    let name = shown(&letter.origin.to_string());
    if [DeadLetterState::Resolved, DeadLetterState::Discarded].contains(&letter.state) {
        let state = letter.state;
        print_error(format_args!(
            "{name} is {state}: reopen it first, with `processors dlq reopen`"
        ));
        return Ok(Err(USAGE));
    }
    let stored = repairs_of(&server, [&letter.origin]).await?.remove(&letter.origin);
    let attempts = ServerAttempts::new(stop.clone());
    let mut source = RecordSource::new(server.clone(), servers.kafka.brokers(), attempts);
    let mut read = source.read(&[&selected(&letter)]).await?;
    let value = match read.pop() {
        Some(Ok(source)) => source.bytes.value.unwrap_or_default(),
        Some(Err(cause)) => {
            print_error(format_args!("the record of {name} cannot be read: {cause}"));
            return Ok(Err(DIFFERS));
        }
        None => Vec::new(),
    };
    let mut schemas = SubjectSchemas::new(servers.registry.registry()?, topic.subject());
    let newest = schemas.newest().await?;
    if let Ok((id, _)) = unframe(&value) {
        schemas.load(id).await?;
    }
    Ok(Ok(Opened { server, letter, value, stored, schemas, newest }))
}

/// What a redrive needs to read the record.
fn selected(letter: &ListedLetter) -> SelectedLetter {
    SelectedLetter {
        origin: letter.origin.clone(),
        state: letter.state,
        code: letter.code.clone(),
        redrive: letter.redrive,
        copies: letter.redrives,
        last_copy: 0,
        announced: None,
        has_changed: false,
        changed_at_us: 0,
        stub: letter.stub.clone(),
        letter: LetterLocation {
            topic: letter.letter_topic.clone(),
            partition: letter.letter_partition,
            offset: letter.letter_offset,
        },
        value_bytes: letter.value_bytes,
        first_failed_at_ms: letter.first_failed_at_ms,
    }
}

impl Opened {
    fn input(&self) -> RepairInput<'_> {
        RepairInput {
            value: &self.value,
            logged_at_ms: self.letter.origin.logged_at_ms,
            random: self.letter.origin.id_bits(),
            newest: self.newest,
            fixed: self.stored.as_ref().map(|stored| stored.repaired.key_facts),
        }
    }

    fn form(&self) -> String {
        let ListedLetter { origin, code, message, .. } = &self.letter;
        let heading = match &self.stored {
            Some(stored) => format!("{origin}: repaired by {}; it failed by {code}", stored.repair),
            None => format!("{origin}: {code}: {message}"),
        };
        form(&heading, &self.input(), |id| self.schemas.get(id))
    }

    /// The value of an edited form.
    fn repaired(&self, text: &str) -> Result<Option<Repaired>, String> {
        let click = EditableClick::of_json(object(text)?).map_err(|error| error.to_string())?;
        let repaired = edited(click, &self.input(), |id| self.schemas.get(id));
        repaired.map(Some).map_err(|error| error.to_string())
    }

    /// The value that the operator makes in the editor; `None` if the file is not changed. A wrong file is
    /// opened again on a terminal, until the operator changes nothing, and is then kept.
    async fn edited_in(&self, editor: &EditorArgs) -> Result<Option<Repaired>, String> {
        let io = |error: std::io::Error| error.to_string();
        let file = EditedFile::new().map_err(io)?;
        let (mut text, mut wrong) = (self.form(), None);
        loop {
            file.write(&text).map_err(io)?;
            if let Err(error) = editor.run(&file).await {
                return Err(kept(file, &error));
            }
            let now = file.read().map_err(io)?;
            if now == text {
                return wrong.map_or(Ok(None), |error: String| Err(kept(file, &error)));
            }
            let error = match self.repaired(&now) {
                Ok(repaired) => return Ok(repaired),
                Err(error) => error,
            };
            if !std::io::stdin().is_terminal() {
                return Err(kept(file, &error));
            }
            text = with_error(&now, &error);
            wrong = Some(error);
        }
    }
}

/// Keeps the file; returns the error with its path.
fn kept(file: EditedFile, error: &str) -> String {
    match file.keep() {
        Ok(path) => format!("{error} (the file is kept: {}; see --file)", path.display()),
        Err(lost) => format!("{error} (the file cannot be kept: {lost})"),
    }
}

async fn store(opened: &Opened, args: &EditArgs, repaired: Repaired) -> Result<u8, ServerError> {
    let (server, origin) = (&opened.server, &opened.letter.origin);
    // A repair that another command stored meanwhile may have set other key facts, and may be sent.
    if repairs_of(server, [origin]).await?.remove(origin) != opened.stored {
        print_error("the record is not edited: another repair was stored meanwhile; edit it again");
        return Ok(USAGE);
    }
    let facts = repaired.key_facts;
    let event = DeadLetterEvent {
        origin: origin.clone(),
        kind: EventKind::Edited,
        redrive: 0,
        job: String::new(),
        event_id: facts.event_id.into_bytes(),
        occurred_at_us: facts.occurred_at_us,
        actor: args.actor.name().to_owned(),
        reason: args.reason.clone(),
    };
    add_events(server, &[event]).await?;
    let repair = StoredRepair { repair: EDIT.to_owned(), repaired };
    add_repair(server, origin, &repair, args.actor.name()).await?;
    let redrive = format!("processors dlq redrive {origin}");
    if args.json {
        print_line(json_line(&json!({
            "origin": origin.to_string(),
            "event_id": facts.event_id.to_string(),
            "occurred_at_us": facts.occurred_at_us,
            "redrive": redrive,
            "stored": true,
        })));
    } else {
        print_line(format_args!(
            "edit: stored for {origin}, event {}; nothing is sent yet",
            facts.event_id
        ));
        print_line(format_args!("edit: to send it, run `{redrive}`"));
    }
    Ok(DONE)
}
