//! What goes to a terminal: colours when they are wanted, tables, and nothing that breaks a pipe.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Into files and pipes too.
    Always,
    /// Not at all.
    Never,
}

impl Color {
    /// The paint for the standard output.
    pub(crate) fn stdout(self) -> Paint {
        self.paint(io::stdout().is_terminal())
    }

    /// The paint for the standard error.
    pub(crate) fn stderr(self) -> Paint {
        self.paint(io::stderr().is_terminal())
    }

    fn paint(self, terminal: bool) -> Paint {
        Paint(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        })
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Columns where the terminal does not say.
const COLUMNS: usize = 80;

/// The columns of the terminal that standard output is. Absent: it is none, and lines may be as long as they like.
pub(crate) fn columns() -> Option<usize> {
    let out = io::stdout();
    out.is_terminal().then(|| match rustix::termios::tcgetwinsize(&out) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS,
    })
}

/// The columns that a line takes. Colours take none.
pub(crate) fn width(line: &str) -> usize {
    let mut coloured = false;
    let seen = line.chars().filter(|c| {
        let hidden = coloured || *c == '\x1b';
        coloured = hidden && *c != 'm';
        !hidden
    });
    seen.count()
}

/// The rows that lines take on a terminal of so many columns, which breaks those that are longer.
pub(crate) fn rows(lines: &[String], columns: usize) -> usize {
    lines.iter().map(|line| width(line).div_ceil(columns.max(1)).max(1)).sum()
}

/// The text in lines of so many columns, broken between words. Those that follow stand under the first word of the first.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    if width(text) <= columns {
        return vec![text.to_owned()];
    }
    let indent = &text[..text.len() - text.trim_start().len()];
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => *line += &format!(" {word}"),
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines
}

/// Writes lines to standard output.
///
/// # Errors
/// Nobody reads it any more, or the disk is full.
pub(crate) fn print<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", line.as_ref())?;
    }
    out.flush()
}

/// Writes to standard error. If that cannot be written to, there is nowhere to say so.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a line to the terminal of standard error that the next one takes the place of. Empty: takes it away.
pub(crate) fn status_line(text: &str) {
    let mut out = io::stderr().lock();
    // If it cannot be written to, nobody watches.
    let _ = write!(out, "\r\x1b[K{text}");
    let _ = out.flush();
}

/// What a piece of text is, and so how it looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Faint,
}

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours nothing.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(false);

    /// Whether anything is coloured.
    pub(crate) const fn is_on(self) -> bool {
        self.0
    }

    /// The text in its tone.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.0 || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One cell of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text in a tone.
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// The text in its tone.
    pub(crate) fn painted(&self, paint: Paint) -> String {
        paint.tone(self.tone, &self.text)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under a head. Columns are as wide as their widest cell; those whose head begins with `>` stand to the right.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells that are not given are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table, without line ends.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let head: Vec<Cell> =
            self.head.iter().map(|name| Cell::new(name.trim_start_matches('>'), Tone::Faint)).collect();
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(&head, column)).collect();
        std::iter::once(&head).chain(&self.rows).map(|cells| self.line(cells, &widths, paint)).collect()
    }

    fn width(&self, head: &[Cell], column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(&head[column..=column]);
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    }

    fn line(&self, cells: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        for ((cell, &width), head) in cells.iter().zip(widths).zip(&self.head) {
            let gap = " ".repeat(width - cell.text.chars().count());
            let text = cell.painted(paint);
            let right = head.starts_with('>');
            line += &if right { format!("{gap}{text}  ") } else { format!("{text}{gap}  ") };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(&["NAME", ">SHARE"]);
        table.row([Cell::new("us-east-1", Tone::Good), "7 %".into()]);
        table.row(["é".into(), "100.0 %".into()]);
        table.row(["alone".into()]);
        let plain = table.lines(Paint(false));
        assert_eq!(plain, ["NAME         SHARE", "us-east-1      7 %", "é          100.0 %", "alone"]);
        let coloured = table.lines(Paint(true));
        assert_eq!(coloured[1], "\x1b[32mus-east-1\x1b[0m      7 %");
    }

    #[test]
    fn rows_are_counted_by_what_is_seen() {
        assert_eq!(width("\x1b[32mµs\x1b[0m x"), 4);
        let lines = [String::new(), "\x1b[31m12345\x1b[0m".to_owned(), "123456".to_owned(), "12345678901".to_owned()];
        assert_eq!(rows(&lines, 5), 1 + 1 + 2 + 3);
        assert_eq!(rows(&lines, 0), 1 + 5 + 6 + 11, "a terminal without columns is no reason to fail");
    }

    #[test]
    fn text_breaks_between_words() {
        assert_eq!(wrap("a  b", 4), ["a  b"]);
        assert_eq!(wrap("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrap("incomprehensible is", 5), ["incomprehensible", "is"]);
    }

    #[test]
    fn a_colour_that_is_asked_for_needs_no_terminal() {
        assert_eq!(Color::Always.paint(false), Paint(true));
        assert_eq!(Color::Never.paint(true), Paint(false));
        assert_eq!(Color::Auto.paint(false), Paint(false));
    }
}
