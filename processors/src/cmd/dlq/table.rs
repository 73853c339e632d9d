//! Tables of `processors dlq` and `processors replay`: columns of equal width, cut to the terminal where stdout is one.

use std::io::IsTerminal as _;

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};

const GAP: &str = "  ";

/// A table that is printed in parts.
#[derive(Debug)]
pub(in crate::cmd) struct Table {
    /// Columns of the terminal; `None`: nothing is cut.
    terminal: Option<usize>,
    /// Headings that are not printed yet.
    headings: Option<Vec<String>>,
    /// The widths of the columns of what was printed.
    widths: Vec<usize>,
}

impl Table {
    /// A table for stdout.
    pub(in crate::cmd) fn new(headings: &[&str]) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let size = is_terminal.then(|| Term::stdout().size_checked()).flatten();
        Self::within(size.map(|(_, columns)| usize::from(columns)), headings)
    }

    fn within(terminal: Option<usize>, headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Self { terminal, headings: Some(headings), widths: Vec::new() }
    }

    /// The lines of these rows, after the headings where they are the first. Their texts have no
    /// characters that a terminal does not show.
    pub(in crate::cmd) fn lines(&mut self, rows: Vec<Vec<String>>) -> Vec<String> {
        let rows: Vec<_> = self.headings.take().into_iter().chain(rows).collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = measure_text_width(text).max(*width);
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let padded = row.iter().zip(&self.widths);
        let padded = padded.map(|(text, width)| pad_str(text, *width, Alignment::Left, None));
        let line = padded.collect::<Vec<_>>().join(GAP);
        let line = line.trim_end();
        match self.terminal {
            Some(columns) => truncate_str(line, columns, "…").into_owned(),
            None => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(texts: [&str; 2]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_aligned_and_only_a_terminal_cuts_them() {
        let mut table = Table::within(None, &["CODE", "MESSAGE"]);
        let long = "m".repeat(300);
        let lines = table.lines(vec![row(["bad_magic", "a"]), row(["b", &long])]);
        assert_eq!(lines[..2], ["CODE       MESSAGE", "bad_magic  a"]);
        assert_eq!(lines[2], format!("b          {long}"));
        assert_eq!(table.lines(vec![row(["c", "d"])]), ["c          d"], "a later part");

        let mut table = Table::within(Some(20), &["CODE", "MESSAGE"]);
        let lines = table.lines(vec![row(["bad_magic", &long])]);
        assert_eq!(lines[1], "bad_magic  mmmmmmmm…");
    }
}
