//! The part of ClickHouse's lexer that finds the clauses of a statement: words, quotes, comments and
//! parentheses. Pure. What a statement does is decided by the engine's parser, not here.

/// One lexical token of a statement; comments and blanks are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Offset after its last byte.
    pub(crate) end: usize,
    /// Parentheses (round, square, curly) open around it.
    pub(crate) depth: usize,
}

/// The kinds of token that the front distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A bare word or number.
    Word,
    /// A quoted identifier or string.
    Quoted,
    /// A single character of punctuation.
    Mark(u8),
}

/// Splits SQL into tokens, one at a time, so that the caller can stop where data begins.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`, which need not be UTF-8.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            if rest.first().is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            } else if rest.starts_with(b"--") || rest.starts_with(b"# ") || rest.starts_with(b"#!")
            {
                self.at += rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |n| n + 1);
            } else if rest.starts_with(b"/*") {
                let end = rest[2..].windows(2).position(|w| w == b"*/");
                self.at += end.map_or(rest.len(), |n| n + 4);
            } else {
                return;
            }
        }
    }

    /// Length of the quoted token at the start of `rest`; all of it if no quote closes it.
    fn quoted(rest: &[u8], quote: u8) -> usize {
        let mut at = 1;
        while at < rest.len() {
            if rest[at] == b'\\' {
                at += 2;
            } else if rest[at] == quote {
                if rest.get(at + 1) != Some(&quote) {
                    return at + 1;
                }
                at += 2;
            } else {
                at += 1;
            }
        }
        rest.len()
    }

    /// Length of a heredoc (`$tag$ … $tag$`) at the start of `rest`, if there is one.
    fn heredoc(rest: &[u8]) -> Option<usize> {
        let tag_len = 2 + rest[1..].iter().position(|&b| b == b'$')?;
        let tag = &rest[..tag_len];
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        if !tag[1..tag_len - 1].iter().all(word) {
            return None;
        }
        let body = rest[tag_len..].windows(tag_len).position(|w| w == tag)?;
        Some(body + 2 * tag_len)
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let first = rest[0];
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
        let (kind, len) = match first {
            b'\'' | b'"' | b'`' => (TokenKind::Quoted, Self::quoted(rest, first)),
            b'$' if let Some(len) = Self::heredoc(rest) => (TokenKind::Quoted, len),
            _ if word(&first) => {
                (TokenKind::Word, rest.iter().position(|b| !word(b)).unwrap_or(rest.len()))
            }
            _ => (TokenKind::Mark(first), 1),
        };
        if matches!(kind, TokenKind::Mark(b')' | b']' | b'}')) {
            self.depth = self.depth.saturating_sub(1);
        }
        let token = Token { kind, start: self.at, end: self.at + len, depth: self.depth };
        if matches!(kind, TokenKind::Mark(b'(' | b'[' | b'{')) {
            self.depth += 1;
        }
        self.at = token.end;
        Some(token)
    }
}

/// Whether `token` of `text` is the bare keyword `word`, in any case.
pub(crate) fn is_word(text: &[u8], token: &Token, word: &str) -> bool {
    token.kind == TokenKind::Word
        && text[token.start..token.end].eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        Lexer::new(text.as_bytes()).map(|t| &text[t.start..t.end]).collect()
    }

    #[test]
    fn comments_and_quotes_hide_what_they_hold() {
        assert_eq!(
            words("a -- b\n/* c ; */ 'd;\\' ;' \"e\"\"f\""),
            ["a", "'d;\\' ;'", "\"e\"\"f\""]
        );
        assert_eq!(words("# x\n$t$ ; $t$;"), ["$t$ ; $t$", ";"]);
        assert_eq!(words("'never closed"), ["'never closed"]);
    }

    #[test]
    fn depth_counts_open_parentheses() {
        let depths: Vec<_> = Lexer::new(b"a(b(c))d").map(|t| t.depth).collect();
        assert_eq!(depths, [0, 0, 1, 1, 2, 1, 0, 0]);
    }
}
