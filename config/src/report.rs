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
    push_line(report, format_args!("error[{}]: {}", problem.code, problem.message));
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
        push_line(report, format_args!("{margin} = at: {}", problem.path));
    }
    if let Some(hint) = &problem.hint {
        push_line(report, format_args!("{margin} = hint: {hint}"));
    }
    report.push('\n');
}

/// The line, cut to [`WIDTH`] around the column, and the place of the column in it.
fn excerpt(position: Position, lines: &[&str]) -> Option<(String, usize)> {
    let line = lines.get(usize::try_from(position.line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(position.column).ok()?.saturating_sub(1);
    let from = if line.chars().count() <= WIDTH { 0 } else { column.saturating_sub(WIDTH / 2) };
    let shown = line.chars().skip(from).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    Some((shown, column - from))
}

fn push_line(report: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(report, "{line}").expect("writing to a String cannot fail");
}
