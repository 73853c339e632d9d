//! One query from request to answer, on a thread that may block: who may run it,
//! its connection with its settings, and which of the engine's ways fits it.

use std::borrow::Cow;
use std::path::PathBuf;

use bytes::Bytes;

use crate::answer::{Answer, Gone};
use crate::auth::User;
use crate::body::{Fault, Upload};
use crate::engine::{Connection, Engine};
use crate::exception::Exception;
use crate::native_format;
use crate::output_format::{self, Joint};
use crate::request::{self, Request};
use crate::result_spool::Spool;
use crate::running_queries::{NAME_SETTING, Run, Turn};
use crate::session::{Line, Sessions};
use crate::statement::{self, InsertHead, Statement};
use crate::statement_class::{Class, Counts};

/// Bytes of text read before the front looks for the head of an `INSERT` in it.
const HEAD_BYTES: usize = 64 << 10;
/// Lets a connection change settings and nothing else, itself included.
const READ_ONLY: &str = "SET readonly = 2";
/// Largest statement without its data.
const QUERY_BYTES_MAX: usize = 16 << 20;

/// A query's text as far as it had to be read; the rest of the body is an insert's data.
#[derive(Debug)]
pub(crate) struct Text {
    /// What was read.
    pub(crate) bytes: Vec<u8>,
    /// What stands where in it.
    pub(crate) statement: Statement,
}

impl Text {
    /// Reads the text from the `query` parameter and, unless that already ends in an
    /// insert's data, from the body.
    ///
    /// # Errors
    /// The body's; `SYNTAX_ERROR` (62) for a statement too large.
    pub(crate) fn gather(query: &str, upload: &mut Upload) -> Result<Self, Fault> {
        let mut bytes = query.as_bytes().to_vec();
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        let statement = statement::read(&bytes);
        if statement.insert.is_some() {
            return Ok(Self { bytes, statement });
        }
        let mut look_at = HEAD_BYTES;
        while let Some(piece) = upload.next_piece()? {
            bytes.extend_from_slice(&piece);
            if bytes.len() < look_at {
                continue;
            }
            let statement = statement::read(&bytes);
            if statement.insert.is_some() {
                return Ok(Self { bytes, statement });
            }
            if bytes.len() > QUERY_BYTES_MAX {
                let text =
                    "Max query size exceeded: the stack's front reads statements of up to 16 MiB";
                return Err(Exception::new(62, text, "SYNTAX_ERROR").into());
            }
            look_at = bytes.len() * 2;
        }
        let statement = statement::read(&bytes);
        Ok(Self { bytes, statement })
    }

    /// Output format: the query's own, else the request's, else ClickHouse's default.
    pub(crate) fn format(&self, request: &Request) -> String {
        let named = self.statement.format.as_ref().or(request.format.as_ref());
        named.cloned().unwrap_or_else(|| "TabSeparated".to_owned())
    }
}

/// What a query needs of the front.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// The engine.
    pub(crate) engine: &'a Engine,
    /// What was asked.
    pub(crate) request: &'a Request,
    /// Connections that stay between requests.
    pub(crate) sessions: &'a Sessions,
    /// Who asks.
    pub(crate) user: &'a User,
    /// The query among those that run, and its name there.
    pub(crate) run: (&'a Run, &'a str),
    /// Where a large result may be put for a moment; not in use yet.
    pub(crate) spill: PathBuf,
}

/// How a query ended before its end.
#[derive(Debug)]
enum Stop {
    Gone,
    Failed(Exception),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Failed(exception)
    }
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone => Self::Gone,
            Fault::Bad(exception) => Self::Failed(exception),
        }
    }
}

impl Query<'_> {
    /// Runs the query and answers it. Its name is free again before the client has its end.
    pub(crate) fn run(&self, text: &Text, upload: &mut Upload, mut answer: Answer, turn: Turn<'_>) {
        let done = self.attempt(text, upload, &mut answer);
        drop(turn);
        match done {
            Ok(counts) => answer.finish(counts),
            Err(Stop::Gone) => {}
            Err(Stop::Failed(exception)) => {
                upload.drain();
                answer.fail(&self.explain(exception));
            }
        }
    }

    fn read_only(&self) -> bool {
        self.user.read_only || self.request.read_only
    }

    fn attempt(
        &self,
        text: &Text,
        upload: &mut Upload,
        answer: &mut Answer,
    ) -> Result<Counts, Stop> {
        let statement = &text.statement;
        if statement.empty {
            return Err(Exception::new(
                62,
                "Syntax error: failed at position 1 (end of query): . Empty query",
                "SYNTAX_ERROR",
            )
            .into());
        }
        if statement.second {
            return Err(Exception::new(
                62,
                "Syntax error (Multi-statements are not allowed)",
                "SYNTAX_ERROR",
            )
            .into());
        }
        if statement.infile {
            let text = "Query has infile and was send directly to server";
            return Err(Exception::new(78, text, "UNKNOWN_TYPE_OF_QUERY").into());
        }
        let mut line = self.line()?;
        let mut undo = if line.is_session() { self.undo(&mut line)? } else { Vec::new() };
        let ready = self.prepare(&mut line, &mut undo).map_err(Stop::from);
        let done = ready.and_then(|()| self.perform(&mut line, text, upload, answer));
        if line.is_session() {
            for statement in undo {
                // What a query has made impossible to undo stays so.
                line.execute(statement.as_bytes(), "Null", &[]).ok();
            }
        }
        done
    }

    fn perform(
        &self,
        line: &mut Line<'_>,
        text: &Text,
        upload: &mut Upload,
        answer: &mut Answer,
    ) -> Result<Counts, Stop> {
        let statement = &text.statement;
        if let Some(head) = &statement.insert {
            return self.insert(line, text, head, upload);
        }
        let class = line.classify(&text.bytes);
        self.permit(line, statement, class)?;
        if statement.verb == "KILL" {
            // The engine's own names of queries are nobody else's.
            let bytes =
                statement::rename(&text.bytes, "query_id", &format!("Settings['{NAME_SETTING}']"));
            let text = Text { statement: statement::read(&bytes), bytes };
            return self.at_once(line, &text, &text.format(self.request), answer);
        }
        let format = text.format(self.request);
        let selects = class == Class::Read
            && matches!(statement.verb.as_str(), "SELECT" | "WITH" | "FROM" | "");
        if selects {
            self.run.0.reads();
        }
        self.run.0.check()?;
        match output_format::joint(&format) {
            Joint::Whole if selects => self.through_file(line, text, &format, answer),
            Joint::Whole => self.at_once(line, text, &format, answer),
            joint if selects => self.in_chunks(line, text, (&format, joint), answer),
            Joint::Plain | Joint::HeaderLines(_) | Joint::BinaryHeader(_) => {
                self.at_once(line, text, &format, answer)
            }
        }
    }

    /// The connection of the request's session, or one of its own.
    fn line(&self) -> Result<Line<'_>, Exception> {
        let fresh = || {
            let fresh = self.engine.connect();
            fresh.map_err(|error| Exception::new(1001, &error.to_string(), "STD_EXCEPTION"))
        };
        let Some(wish) = self.request.session() else { return Ok(Line::alone(fresh()?)) };
        let open = || {
            let mut connection = fresh()?;
            if self.user.read_only {
                connection.execute(READ_ONLY.as_bytes(), "Null", &[])?;
            }
            Ok(connection)
        };
        self.sessions.take(&self.user.name, wish, open)
    }

    /// Sets everything that the request asks for, and makes its external tables.
    fn prepare(&self, line: &mut Line<'_>, undo: &mut Vec<String>) -> Result<(), Exception> {
        for external in &self.request.externals {
            line.execute(external.create().as_bytes(), "Null", &[])?;
            undo.push(external.forget());
            let sql = external.insert();
            let mut insert = line.insert(sql.as_bytes(), &external.format, &[])?;
            insert.append(&external.data)?;
            insert.done()?;
        }
        let mut statements = vec![request::set(NAME_SETTING, self.run.1)];
        // First, so that nothing undoes it; a session would stay so.
        if self.read_only() && !line.is_session() {
            statements.push(READ_ONLY.to_owned());
        }
        statements.extend(self.request.set_statements()?);
        statements.extend(self.request.use_statement());
        for statement in &statements {
            line.execute(statement.as_bytes(), "Null", &[])?;
        }
        Ok(())
    }

    /// A GET of somebody who may write, in a session, reads only this once.
    fn only_now(&self, line: &Line<'_>) -> bool {
        line.is_session() && !self.user.read_only
    }

    /// What puts a session's settings and database back to what they are now.
    fn undo(&self, line: &mut Line<'_>) -> Result<Vec<String>, Exception> {
        let names: Vec<_> =
            self.request.settings.iter().map(|(name, _)| request::quote(name, '\'')).collect();
        let mut undo = Vec::new();
        if !names.is_empty() {
            let sql = format!(
                "SELECT name, if(changed, value, NULL) FROM system.settings WHERE name IN ({})",
                names.join(", ")
            );
            let output = line.execute(sql.as_bytes(), "TabSeparatedRaw", &[])?;
            for row in String::from_utf8_lossy(output.bytes()).lines() {
                let Some((name, value)) = row.split_once('\t') else { continue };
                undo.push(match value {
                    "\\N" => format!("SET {name} = DEFAULT"),
                    value => request::set(name, value),
                });
            }
        }
        if self.request.database.is_some() {
            let output = line.execute(b"SELECT currentDatabase()", "TabSeparatedRaw", &[])?;
            let name = String::from_utf8_lossy(output.bytes()).trim_end().to_owned();
            undo.push(format!("USE {}", request::quote(&name, '`')));
        }
        Ok(undo)
    }

    /// What the engine would let pass though ClickHouse's server does not: it takes a
    /// connection for a person at a terminal, who may write files.
    fn permit(
        &self,
        line: &Line<'_>,
        statement: &Statement,
        class: Class,
    ) -> Result<(), Exception> {
        if class == Class::Write && self.read_only() && self.only_now(line) {
            return Err(read_only_refusal());
        }
        if class != Class::Control {
            return Ok(());
        }
        let verb = statement.verb.as_str();
        if matches!(
            verb,
            "" | "SELECT"
                | "WITH"
                | "FROM"
                | "SHOW"
                | "DESCRIBE"
                | "DESC"
                | "EXPLAIN"
                | "EXISTS"
                | "CHECK"
        ) {
            return Err(Exception::new(
                358,
                "INTO OUTFILE is not allowed",
                "INTO_OUTFILE_NOT_ALLOWED",
            ));
        }
        if self.read_only() && !matches!(verb, "SET" | "USE") {
            return Err(read_only_refusal());
        }
        Ok(())
    }

    fn insert(
        &self,
        connection: &mut Connection,
        text: &Text,
        head: &InsertHead,
        upload: &mut Upload,
    ) -> Result<Counts, Stop> {
        // `INSERT INTO FUNCTION file(…)` is not a write to the engine's own rights.
        if self.read_only() {
            return Err(read_only_refusal().into());
        }
        let mut insert =
            connection.insert(&text.bytes[..head.head], &head.format, &self.request.params)?;
        let mut piece = Bytes::copy_from_slice(text.bytes.get(head.data..).unwrap_or_default());
        loop {
            if !piece.is_empty() {
                insert.append(&piece)?;
            }
            // Leaving here by `?` drops the insert, and with it what was not yet written.
            match upload.next_piece()? {
                Some(next) => piece = next,
                None => return Ok(insert.done()?),
            }
        }
    }

    fn at_once(
        &self,
        connection: &mut Connection,
        text: &Text,
        format: &str,
        answer: &mut Answer,
    ) -> Result<Counts, Stop> {
        let output = connection.execute(&text.bytes, format, &self.request.params)?;
        answer.progress(output.counts());
        answer.data(&self.shape(format, output.bytes())?)?;
        Ok(output.counts())
    }

    fn in_chunks(
        &self,
        connection: &mut Connection,
        text: &Text,
        (format, joint): (&str, Joint),
        answer: &mut Answer,
    ) -> Result<Counts, Stop> {
        let mut counts = Counts::default();
        let mut chunks = connection.stream(&text.bytes, format, &self.request.params)?;
        let mut first = true;
        while let Some(chunk) = chunks.next_chunk()? {
            let header = if first { 0 } else { joint.header_len(chunk.bytes()) };
            first = false;
            counts += chunk.counts();
            answer.progress(counts);
            self.run.0.check()?;
            answer.data(&self.shape(format, &chunk.bytes()[header..])?)?;
        }
        Ok(counts)
    }

    /// The bytes as this client reads the format.
    fn shape<'b>(&self, format: &str, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Exception> {
        if self.request.revision == 0 || !format.eq_ignore_ascii_case("Native") {
            return Ok(Cow::Borrowed(bytes));
        }
        native_format::renew(bytes, self.request.revision).map(Cow::Owned)
    }

    /// A document with a beginning and an end is written by the engine to a file, so that a
    /// large one costs disk and not memory.
    fn through_file(
        &self,
        connection: &mut Connection,
        text: &Text,
        format: &str,
        answer: &mut Answer,
    ) -> Result<Counts, Stop> {
        let (query, tail) = text.bytes.split_at(text.statement.tail);
        let path = self.spill.with_extension("out");
        let outfile = format!(
            "\nINTO OUTFILE '{}' TRUNCATE ",
            path.display().to_string().replace('\'', "\\'")
        );
        let format_clause = if text.statement.format.is_none() {
            format!("FORMAT {format} ")
        } else {
            String::new()
        };
        let sql = [query, outfile.as_bytes(), format_clause.as_bytes(), tail].concat();
        let done =
            connection.execute(&sql, format, &self.request.params).map(|output| output.counts());
        let spool = Spool::of_file(&path);
        let counts = done?;
        answer.progress(counts);
        let spool =
            spool.map_err(|error| Exception::new(76, &error.to_string(), "CANNOT_OPEN_FILE"))?;
        let mut listening = Ok(());
        let read = spool.read(|piece| {
            listening = answer.data(piece);
            listening.is_ok()
        });
        listening?;
        read.map_err(|error| {
            Exception::new(74, &error.to_string(), "CANNOT_READ_FROM_FILE_DESCRIPTOR")
        })?;
        Ok(counts)
    }

    /// Puts the front's user, and for GET ClickHouse's advice, in the place of the engine's words.
    fn explain(&self, mut exception: Exception) -> Exception {
        let text = "default: Cannot execute query in readonly mode";
        if exception.code == 164 && exception.text.contains(text) {
            let advice = if self.request.read_only && !self.user.read_only {
                ". For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries"
            } else {
                ""
            };
            let own = format!("{}: Cannot execute query in readonly mode{advice}", self.user.name);
            exception.text = exception.text.replace(text, &own);
        }
        exception
    }
}

fn read_only_refusal() -> Exception {
    Exception::new(164, "default: Cannot execute query in readonly mode", "READONLY")
}
