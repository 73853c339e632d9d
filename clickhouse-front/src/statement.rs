//! The positions of the clauses of one statement: the head of an `INSERT` and the data
//! after it, the `FORMAT` clause of a query, a second statement. Pure.
//! The engine and `query/rights.rs` decide what a statement may do.

use crate::sql::{Lexer, Token, TokenKind, is_word};

/// What was found in the text of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Statement {
    /// First word, in upper case; empty when the statement starts with something else.
    pub(crate) verb: String,
    /// There is nothing but blanks and comments.
    pub(crate) empty: bool,
    /// The head of an `INSERT` that brings its own data, if it is one.
    pub(crate) insert: Option<InsertHead>,
    /// Name after a `FORMAT` clause at the end of a query.
    pub(crate) format: Option<String>,
    /// Where an `INTO OUTFILE` clause could be put: before `FORMAT`, or at the end.
    pub(crate) tail: usize,
    /// More text follows a semicolon.
    pub(crate) second: bool,
    /// The statement reads a file of the client (`INFILE`).
    pub(crate) infile: bool,
}

/// An `INSERT` up to its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InsertHead {
    /// Length of the statement without its `FORMAT` or `VALUES` clause.
    pub(crate) head: usize,
    /// Input format.
    pub(crate) format: String,
    /// Offset of the first byte of data.
    pub(crate) data: usize,
}

/// Finds the clauses in `text`, which may hold data after an `INSERT`'s head.
pub(crate) fn read(text: &[u8]) -> Statement {
    let mut tokens = Lexer::new(text).peekable();
    let mut found = Statement { tail: text.len(), ..Statement::default() };
    let Some(first) = tokens.next() else { return Statement { empty: true, ..found } };
    if first.kind == TokenKind::Word {
        found.verb = word(text, &first).to_ascii_uppercase();
    }
    if found.verb == "INSERT" {
        read_insert(text, &mut tokens, &mut found);
    } else {
        read_query(text, first, &mut tokens, &mut found);
    }
    found
}

/// The statement with `to` in the place of each bare word `from`.
pub(crate) fn rename(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    for token in Lexer::new(text).filter(|token| is_word(text, token, from)) {
        out.extend_from_slice(&text[at..token.start]);
        out.extend_from_slice(to.as_bytes());
        at = token.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn word(text: &[u8], token: &Token) -> String {
    let bytes = &text[token.start..token.end];
    let quotes: &[char] = &['`', '"', '\''];
    String::from_utf8_lossy(bytes).trim_matches(quotes).to_owned()
}

fn read_insert(text: &[u8], tokens: &mut std::iter::Peekable<Lexer<'_>>, found: &mut Statement) {
    for skipped in ["INTO", "TABLE", "FUNCTION"] {
        tokens.next_if(|token| is_word(text, token, skipped));
    }
    // The table's own name may be any word, `values` too.
    tokens.next();
    while tokens.next_if(|token| token.kind == TokenKind::Mark(b'.')).is_some() {
        tokens.next();
    }
    while let Some(token) = tokens.next() {
        if token.depth > 0 {
            continue;
        }
        if is_word(text, &token, "SELECT") || is_word(text, &token, "WITH") {
            read_query(text, token, tokens, found);
            return;
        }
        if is_word(text, &token, "INFILE") {
            found.infile = true;
            return;
        }
        if is_word(text, &token, "VALUES") {
            let format = "Values".to_owned();
            found.insert = Some(InsertHead { head: token.start, format, data: token.end });
            return;
        }
        if is_word(text, &token, "FORMAT") {
            if let Some(name) = tokens.next() {
                let format = word(text, &name);
                let data = data_start(text, name.end);
                found.insert = Some(InsertHead { head: token.start, format, data });
            }
            return;
        }
    }
}

/// After the format's name come blanks, at most one semicolon and one line break; then data.
fn data_start(text: &[u8], mut at: usize) -> usize {
    let blank = |at: usize| matches!(text.get(at), Some(b' ' | b'\t' | b'\x0c'));
    while blank(at) {
        at += 1;
    }
    if text.get(at) == Some(&b';') {
        at += 1;
        while blank(at) {
            at += 1;
        }
    }
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    if text.get(at) == Some(&b'\n') {
        at += 1;
    }
    at
}

fn read_query(
    text: &[u8],
    first: Token,
    tokens: &mut std::iter::Peekable<Lexer<'_>>,
    found: &mut Statement,
) {
    let mut before = first;
    let mut end = first.end;
    while let Some(token) = tokens.next() {
        if token.kind == TokenKind::Mark(b';') && token.depth == 0 {
            found.second |= tokens.peek().is_some_and(|t| t.kind != TokenKind::Mark(b';'));
            continue;
        }
        // `FORMAT name` is a clause only where a name ends the query or SETTINGS follow;
        // `format` is also a function and can name a column.
        if token.depth == 0 && is_word(text, &before, "FORMAT") && ends_query(text, tokens.peek()) {
            found.format = Some(word(text, &token));
            found.tail = before.start;
        }
        end = token.end;
        before = token;
    }
    if found.format.is_none() {
        found.tail = end;
    }
}

fn ends_query(text: &[u8], next: Option<&Token>) -> bool {
    next.is_none_or(|token| token.kind == TokenKind::Mark(b';') || is_word(text, token, "SETTINGS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(text: &str) -> Option<(String, String, String)> {
        let head = read(text.as_bytes()).insert?;
        Some((text[..head.head].trim().to_owned(), head.format, text[head.data..].to_owned()))
    }

    #[test]
    fn an_insert_is_cut_where_its_data_begins() {
        let check = |text: &str, head: &str, format: &str, data: &str| {
            assert_eq!(
                insert(text),
                Some((head.to_owned(), format.to_owned(), data.to_owned())),
                "{text}"
            );
        };
        check("INSERT INTO t FORMAT CSV\n1,2", "INSERT INTO t", "CSV", "1,2");
        check(
            "insert into t(a,b) format RowBinary \r\n\n",
            "insert into t(a,b)",
            "RowBinary",
            "\n",
        );
        check("INSERT INTO d.t VALUES (1);", "INSERT INTO d.t", "Values", " (1);");
        check("INSERT INTO values VALUES (1)", "INSERT INTO values", "Values", " (1)");
        check("INSERT INTO TABLE `format` FORMAT TSV", "INSERT INTO TABLE `format`", "TSV", "");
        check("INSERT INTO t FORMAT CSV; \n1", "INSERT INTO t", "CSV", "1");
        check(
            "/* x */ INSERT INTO t -- FORMAT\n FORMAT TSV\nx",
            "/* x */ INSERT INTO t -- FORMAT",
            "TSV",
            "x",
        );
        check(
            "INSERT INTO FUNCTION remote('h', 'format values') (a) SETTINGS x=1 FORMAT TSV\n",
            "INSERT INTO FUNCTION remote('h', 'format values') (a) SETTINGS x=1",
            "TSV",
            "",
        );
        check("INSERT INTO t (`values`) VALUES", "INSERT INTO t (`values`)", "Values", "");
    }

    #[test]
    fn an_insert_from_a_query_brings_no_data() {
        assert_eq!(insert("INSERT INTO t SELECT 1 FORMAT CSV"), None);
        assert_eq!(insert("INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x"), None);
        assert_eq!(insert("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"), None);
        assert_eq!(insert("SELECT 'INSERT INTO t FORMAT CSV'"), None);
        assert!(read(b"INSERT INTO t FROM INFILE 'x' FORMAT CSV").infile);
    }

    #[test]
    fn a_format_clause_is_the_last_word() {
        let format = |text: &str| read(text.as_bytes()).format;
        assert_eq!(format("SELECT 1 FORMAT JSON").as_deref(), Some("JSON"));
        assert_eq!(format("select 1 format json settings a=1;").as_deref(), Some("json"));
        assert_eq!(format("SELECT format('{}', 1)"), None);
        assert_eq!(format("SELECT format FROM t"), None);
        assert_eq!(format("SELECT 1 -- FORMAT JSON"), None);
        assert_eq!(format("SHOW TABLES FORMAT CSV ;").as_deref(), Some("CSV"));
    }

    #[test]
    fn a_second_statement_is_detected_and_a_last_semicolon_is_allowed() {
        assert!(read(b"SELECT 1; SELECT 2").second);
        assert!(!read(b"SELECT ';' ; -- ;x\n;").second);
        assert!(!read(b"INSERT INTO t VALUES (1); SELECT 2").second);
    }

    #[test]
    fn a_word_is_replaced_outside_quotes_and_comments() {
        let renamed =
            rename(b"KILL QUERY WHERE query_id = 'query_id' -- query_id", "query_id", "x");
        assert_eq!(renamed, b"KILL QUERY WHERE x = 'query_id' -- query_id");
    }

    #[test]
    fn the_tail_is_where_an_outfile_clause_fits() {
        let tail = |text: &str| text[read(text.as_bytes()).tail..].to_owned();
        assert_eq!(tail("SELECT 1 FORMAT JSON SETTINGS a=1"), "FORMAT JSON SETTINGS a=1");
        assert_eq!(tail("SELECT 1 ; -- x"), " ; -- x");
        assert_eq!(tail("SELECT 1 -- x"), " -- x");
    }
}
