//! Problems for people: each with the line it is about and a caret under the place.
//!
//! Plain text only. Colour belongs to a terminal, and so to the command line.

use std::fmt::Write as _;

use crate::problem::{Position, Problems};

/// A line longer than this is shown around the place only: JSON is often one line.
const WIDTH: usize = 120;

/// A problem as it is shown. It may come from another program, whose codes and paths this one does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What kind of problem.
    pub code: String,
    /// Which value; empty for the document as a whole.
    pub path: String,
    /// Where it is written, if it is anywhere.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Renders all problems. `text` is what was validated; another one gives other lines, never a panic.
pub(crate) fn render(problems: &Problems, file_name: &str, text: &str) -> String {
    let shown = problems.problems.iter().map(|problem| Shown {
        code: problem.code.to_string(),
        path: problem.path.to_string(),
        position: problem.position,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    });
    report(&shown.collect::<Vec<_>>(), problems.omitted, file_name, text)
}

/// The report for people: each problem with its line of the text, and how many more there are.
#[must_use]
pub fn report(problems: &[Shown], omitted: usize, file_name: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut report = String::new();
    for problem in problems {
        render_one(&mut report, problem, file_name, &lines);
    }
    let count = problems.len() + omitted;
    let noun = if count == 1 { "problem" } else { "problems" };
    let told = if omitted > 0 { format!("; {omitted} are not shown") } else { String::new() };
    push_line(&mut report, format_args!("{file_name}: {count} {noun}{told}"));
    report
}

fn render_one(report: &mut String, problem: &Shown, file_name: &str, lines: &[&str]) {
    push_line(report, format_args!("error[{}]: {}", problem.code, visible(&problem.message)));
    let number = problem.position.map_or(0, |position| position.line).to_string();
    let margin = " ".repeat(number.len());
    match problem.position {
        Some(Position { line, column }) => push_line(report, format_args!("{margin}--> {file_name}:{line}:{column}")),
        None => push_line(report, format_args!("{margin}--> {file_name}")),
    }
    if let Some((shown, place)) = problem.position.and_then(|position| excerpt(position, lines)) {
        push_line(report, format_args!("{margin} |"));
        push_line(report, format_args!("{number} | {shown}"));
        push_line(report, format_args!("{margin} | {}^", " ".repeat(place)));
    }
    if !problem.path.is_empty() {
        push_line(report, format_args!("{margin} = at: {}", visible(&problem.path)));
    }
    if let Some(hint) = &problem.hint {
        push_line(report, format_args!("{margin} = hint: {}", visible(hint)));
    }
    report.push('\n');
}

/// The line, cut to [`WIDTH`] around the column, and the place of the column in it.
fn excerpt(position: Position, lines: &[&str]) -> Option<(String, usize)> {
    let line = lines.get(usize::try_from(position.line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(position.column).ok()?.saturating_sub(1);
    let from = if line.chars().count() <= WIDTH { 0 } else { column.saturating_sub(WIDTH / 2) };
    let shown =
        line.chars().skip(from).take(WIDTH).map(|c| if c == '\t' { ' ' } else { shown_as(c) }).collect::<String>();
    Some((shown, column - from))
}

/// The text without what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars().map(shown_as).collect()
}

/// A character that commands a terminal, or turns the direction of what follows, as one that can be seen in its place: a
/// file that was refused may hold any, and the caret below must stay where it is.
const fn shown_as(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => picture(c as u32),
        '\u{7f}' => picture(0x21),
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// From the block of control pictures.
const fn picture(at: u32) -> char {
    match char::from_u32(0x2400 + at) {
        Some(picture) => picture,
        None => char::REPLACEMENT_CHARACTER,
    }
}

fn push_line(report: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(report, "{line}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let problem = Shown {
            code: "not-text".to_owned(),
            path: String::new(),
            position: Some(Position { line: 1, column: 3 }),
            message: "it has \u{1b}[31m".to_owned(),
            hint: Some("no \u{202e}".to_owned()),
        };
        let told = report(&[problem], 0, "f.yaml", "a\u{1b}[2J\u{7f}\u{9b}\tb\u{2066}\0c");
        assert!(told.contains("1 | a\u{241b}[2J\u{2421}\u{fffd} b\u{fffd}\u{2400}c\n"), "{told}");
        assert!(told.contains("it has \u{241b}[31m") && told.contains("no \u{fffd}\n"), "{told}");
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
    }
}
