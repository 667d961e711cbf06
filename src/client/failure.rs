//! How asking fails: nobody is reached, or it is refused. Each says what to do.

use std::fmt;

use http::StatusCode;
use serde_json::Value;
use sluice_config::problem::Position;
use sluice_config::report::{Shown, report};
use sluice_control::api::Refused;

use super::server::Server;
use crate::cli::{Exit, Output};
use crate::terminal::{Color, Tone, print, warn};
use crate::value;

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody answered.
    Unreachable(Unreachable),
    /// The control plane refused it.
    Refused(Box<Rejection>),
    /// Something answered that is no control plane.
    Foreign {
        /// With what.
        status: StatusCode,
    },
}

/// Where it was looked, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Unreachable(Vec<(String, String)>);

impl Unreachable {
    pub(super) fn push(&mut self, server: &Server, why: String) {
        self.0.push((server.to_string(), why));
    }
}

/// A refusal, and the document that it is about.
#[derive(Debug)]
pub(crate) struct Rejection {
    refused: Refused,
    /// As it was told.
    told: Value,
    form: Output,
    /// The document's name and text.
    document: Option<(String, String)>,
}

impl Rejection {
    pub(super) const fn new(refused: Refused, told: Value, form: Output) -> Self {
        Self { refused, told, form, document: None }
    }

    fn show(&self, color: Color) -> std::io::Result<()> {
        if self.form != Output::Table {
            let text = value::render(&self.told, self.form).map_err(std::io::Error::other)?;
            return print([text]);
        }
        let paint = color.stderr();
        for line in self.to_string().lines() {
            let tone = if line.starts_with("error") { Tone::Bad } else { Tone::Plain };
            warn(&paint.tone(tone, line));
        }
        Ok(())
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(Box::new(rejection))
    }
}

impl Failure {
    /// The same, about this document.
    pub(crate) fn about(mut self, name: &str, text: &str) -> Self {
        if let Self::Refused(rejection) = &mut self {
            rejection.document = Some((name.to_owned(), text.to_owned()));
        }
        self
    }

    /// What the control plane refused with, if it did.
    #[cfg(test)]
    pub(crate) fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(rejection) => Some(&rejection.refused),
            Self::Unreachable(_) | Self::Foreign { .. } => None,
        }
    }

    /// Tells it, and how the process is to end.
    pub(crate) fn show(&self, color: Color) -> Exit {
        match self {
            Self::Refused(rejection) => {
                // If it cannot be written, there is nowhere to say so; the code tells it.
                let _ = rejection.show(color);
                Exit::Refused
            }
            Self::Unreachable(_) => self.warn(color, Exit::Unreachable),
            Self::Foreign { .. } => self.warn(color, Exit::Refused),
        }
    }

    fn warn(&self, color: Color, exit: Exit) -> Exit {
        warn(&format!("{}: {self}", color.stderr().tone(Tone::Bad, "error")));
        exit
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(unreachable) => unreachable.fmt(f),
            Self::Refused(rejection) => rejection.fmt(f),
            Self::Foreign { status } => write!(
                f,
                "something that is no control plane answered with {status}\n  = hint: give the address of the admin API \
                 with --server; the proxy's own listeners and its status are others"
            ),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no control plane answers")?;
        self.0.iter().try_for_each(|(server, why)| write!(f, "\n  {server}: {why}"))?;
        f.write_str("\n  = hint: start one with `sluice run FILE`, or say where it is with --server or SLUICE_SERVER")
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { code, detail, hint, problems, omitted, owned, .. } = &self.refused;
        if !problems.is_empty() {
            let (name, text) = self.document.as_ref().map_or(("the document", ""), |(name, text)| (name, text));
            f.write_str(report(&self.shown(), *omitted, name, text).trim_end())?;
            return hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"));
        }
        write!(f, "error[{code}]: {detail}")?;
        for owned in owned {
            let (service, changes) = (&owned.service, owned.changes.join(", "));
            write!(f, "\n  = {service}: {} by {} since {}", owned.owner, owned.author, owned.since)?;
            write!(f, " ({}); the document changes {changes}", owned.reason)?;
        }
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"))
    }
}

impl Rejection {
    fn shown(&self) -> Vec<Shown> {
        let position = |line: Option<u32>, column: Option<u32>| Some(Position { line: line?, column: column? });
        let shown = self.refused.problems.iter().map(|problem| Shown {
            code: problem.code.clone(),
            path: problem.path.clone(),
            position: position(problem.line, problem.column),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        });
        shown.collect()
    }
}
