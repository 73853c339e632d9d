//! The rights of a query: what the front refuses although the engine permits it. Pure.

use crate::auth::User;
use crate::exception::Exception;
use crate::request::QueryRequest;
use crate::statement::Statement;
use crate::statement_class::StatementClass;

/// The rights of one query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryRights {
    /// The user may only read.
    pub(crate) user_read_only: bool,
    /// The method of the request allows only reading.
    pub(crate) method_read_only: bool,
}

impl QueryRights {
    /// The rights of a request of `user`.
    pub(crate) fn new(user: &User, request: &QueryRequest) -> Self {
        Self { user_read_only: user.read_only, method_read_only: request.read_only }
    }

    /// Whether the query may only read.
    pub(crate) fn read_only(self) -> bool {
        self.user_read_only || self.method_read_only
    }

    /// Refuses an insert to a query that may only read: `INSERT INTO FUNCTION file(…)` is not a
    /// write to the engine's own rights.
    ///
    /// # Errors
    /// `READONLY` (164).
    pub(crate) fn permit_insert(self) -> Result<(), Exception> {
        if self.read_only() { Err(read_only_refusal()) } else { Ok(()) }
    }

    /// Refuses what the engine permits and ClickHouse's server does not: the engine is made
    /// for the user of a command line, who may write files. `in_session` says that the
    /// connection stays open after the request: it is not read-only for the engine where only the
    /// method of one request is.
    ///
    /// # Errors
    /// `READONLY` (164), `INTO_OUTFILE_NOT_ALLOWED` (358).
    pub(crate) fn permit(
        self,
        statement: &Statement,
        class: StatementClass,
        in_session: bool,
    ) -> Result<(), Exception> {
        let unchecked = in_session && !self.user_read_only;
        if class == StatementClass::Write && self.read_only() && unchecked {
            return Err(read_only_refusal());
        }
        if class != StatementClass::Control {
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

    /// Names the front's user in the engine's refusal to write, and for GET adds ClickHouse's
    /// advice.
    pub(crate) fn explain(self, mut exception: Exception, user: &str) -> Exception {
        let text = "default: Cannot execute query in readonly mode";
        if exception.code == 164 && exception.text.contains(text) {
            let advice = if self.method_read_only && !self.user_read_only {
                ". For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries"
            } else {
                ""
            };
            let own = format!("{user}: Cannot execute query in readonly mode{advice}");
            exception.text = exception.text.replace(text, &own);
        }
        exception
    }
}

fn read_only_refusal() -> Exception {
    Exception::new(164, "default: Cannot execute query in readonly mode", "READONLY")
}
