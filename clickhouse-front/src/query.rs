//! One query from request to answer, on a thread that may block: its rights, its connection with
//! its settings, and how its result is sent.

pub(crate) mod counts;
pub(crate) mod failure;
pub(crate) mod output;
pub(crate) mod rights;
pub(crate) mod setup;
pub(crate) mod task;
pub(crate) mod text;

use std::path::PathBuf;

use bytes::Bytes;

use crate::answer::Answer;
use crate::auth::User;
use crate::engine::Engine;
use crate::engine::connection::Connection;
use crate::exception::Exception;
use crate::http::body::Upload;
use crate::output_format::{self, Framing};
use crate::query::counts::QueryCounts;
use crate::query::failure::QueryFailure;
use crate::query::output::QueryOutput;
use crate::query::rights::QueryRights;
use crate::query::setup::{READ_ONLY, Reset};
use crate::query::text::QueryText;
use crate::request::QueryRequest;
use crate::running_queries::{NAME_SETTING, QueryRun, RunningGuard};
use crate::session::{SessionConnection, Sessions};
use crate::statement::{self, InsertHead, Statement};
use crate::statement_class::StatementClass;

/// One query, with what it uses of the front.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// The engine.
    pub(crate) engine: &'a Engine,
    /// The request.
    pub(crate) request: &'a QueryRequest,
    /// Connections that stay open between requests.
    pub(crate) sessions: &'a Sessions,
    /// The user.
    pub(crate) user: &'a User,
    /// The query among those that run.
    pub(crate) run: &'a QueryRun,
    /// Its id.
    pub(crate) query_id: &'a str,
    /// A path for a large result, which no other query uses.
    pub(crate) spill: PathBuf,
}

impl Query<'_> {
    /// Runs the query and sends its answer. Its id can be used again before the client has the end
    /// of the answer.
    pub(crate) fn run(
        &self,
        text: &QueryText,
        upload: &mut Upload,
        mut answer: Answer,
        guard: RunningGuard<'_>,
    ) {
        let done = self.attempt(text, upload, &mut answer);
        drop(guard);
        match done {
            Ok(counts) => answer.finish(counts),
            Err(QueryFailure::Disconnected) => {}
            Err(QueryFailure::Exception(exception)) => {
                upload.drain();
                answer.fail(&self.rights().explain(exception, &self.user.name));
            }
        }
    }

    fn rights(&self) -> QueryRights {
        QueryRights::new(self.user, self.request)
    }

    fn attempt(
        &self,
        text: &QueryText,
        upload: &mut Upload,
        answer: &mut Answer,
    ) -> Result<QueryCounts, QueryFailure> {
        check(&text.statement)?;
        let mut connection = self.connection()?;
        let in_session = connection.is_session();
        let mut reset =
            if in_session { Reset::of(&mut connection, self.request)? } else { Reset::default() };
        let ready = self.prepare(&mut connection, &mut reset).map_err(QueryFailure::from);
        let done = ready.and_then(|()| self.perform(&mut connection, text, upload, answer));
        if in_session {
            reset.run(&mut connection);
        }
        done
    }

    fn prepare(
        &self,
        connection: &mut SessionConnection<'_>,
        reset: &mut Reset,
    ) -> Result<(), Exception> {
        // A session would stay read-only.
        let read_only = self.rights().read_only() && !connection.is_session();
        let steps = setup::steps(self.request, self.query_id, read_only)?;
        setup::prepare(connection, &steps, reset)
    }

    fn perform(
        &self,
        connection: &mut SessionConnection<'_>,
        text: &QueryText,
        upload: &mut Upload,
        answer: &mut Answer,
    ) -> Result<QueryCounts, QueryFailure> {
        let statement = &text.statement;
        if let Some(head) = &statement.insert {
            answer.without_result();
            return self.insert(connection, text, head, upload);
        }
        let class = connection.classify(&text.bytes);
        self.rights().permit(statement, class, connection.is_session())?;
        let format = text.format(self.request);
        let output = QueryOutput {
            request: self.request,
            run: self.run,
            spill: &self.spill,
            format: &format,
            reads: class == StatementClass::Read,
            answer,
        };
        if statement.verb == "KILL" {
            // The clients do not know the engine's own query ids.
            let setting = format!("Settings['{NAME_SETTING}']");
            return output
                .at_once(connection, &statement::rename(&text.bytes, "query_id", &setting));
        }
        let selects = class == StatementClass::Read
            && matches!(statement.verb.as_str(), "SELECT" | "WITH" | "FROM" | "");
        if selects {
            self.run.mark_read_only();
        }
        self.run.check()?;
        match output_format::framing(&format) {
            Framing::Document if selects => output.through_file(connection, text),
            Framing::Plain | Framing::HeaderLines(_) | Framing::BinaryHeader(_) if selects => {
                output.in_chunks(connection, text)
            }
            Framing::Document
            | Framing::Plain
            | Framing::HeaderLines(_)
            | Framing::BinaryHeader(_) => match output.at_once(connection, &text.bytes) {
                Err(QueryFailure::Exception(exception)) if self.accepts_creation(&exception) => {
                    answer.without_result();
                    Ok(QueryCounts::default())
                }
                done => done,
            },
        }
    }

    fn accepts_creation(&self, exception: &Exception) -> bool {
        self.engine.default_database().accept_creation(exception)
    }

    /// The connection of the request's session, or one of its own.
    fn connection(&self) -> Result<SessionConnection<'_>, Exception> {
        let open = || {
            let opened = self.engine.connect();
            opened.map_err(|error| Exception::new(1001, &error.to_string(), "STD_EXCEPTION"))
        };
        let Some(session) = self.request.session() else {
            return Ok(SessionConnection::without_session(open()?));
        };
        let open = || {
            let mut connection = open()?;
            if self.user.read_only {
                connection.execute(READ_ONLY.as_bytes(), "Null", &[])?;
            }
            Ok(connection)
        };
        self.sessions.take(&self.user.name, session, open)
    }

    fn insert(
        &self,
        connection: &mut Connection,
        text: &QueryText,
        head: &InsertHead,
        upload: &mut Upload,
    ) -> Result<QueryCounts, QueryFailure> {
        self.rights().permit_insert()?;
        let mut insert =
            connection.insert(&text.bytes[..head.head], &head.format, &self.request.params)?;
        let mut piece = Bytes::copy_from_slice(text.bytes.get(head.data..).unwrap_or_default());
        loop {
            if !piece.is_empty() {
                insert.append(&piece)?;
            }
            // An early return drops the insert, which cancels what the engine has not written.
            match upload.next_piece()? {
                Some(next) => piece = next,
                None => return Ok(insert.done()?),
            }
        }
    }
}

/// Refuses what the front does not run.
fn check(statement: &Statement) -> Result<(), Exception> {
    if statement.empty {
        return Err(Exception::new(
            62,
            "Syntax error: failed at position 1 (end of query): . Empty query",
            "SYNTAX_ERROR",
        ));
    }
    if statement.second {
        return Err(Exception::new(
            62,
            "Syntax error (Multi-statements are not allowed)",
            "SYNTAX_ERROR",
        ));
    }
    if statement.infile {
        let text = "Query has infile and was send directly to server";
        return Err(Exception::new(78, text, "UNKNOWN_TYPE_OF_QUERY"));
    }
    Ok(())
}
