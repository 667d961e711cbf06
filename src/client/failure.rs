//! How asking fails: nobody is reached, or it is refused. Each says what to do.

use std::fmt;
use std::net::SocketAddr;

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
    /// No proxy answered.
    Silent {
        /// Where it was asked.
        address: SocketAddr,
        /// What was found.
        why: String,
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

    /// Tells it, and how the process is to end.
    pub(crate) fn show(&self, color: Color) -> Exit {
        match self {
            Self::Refused(rejection) => {
                // If it cannot be written, there is nowhere to say so; the code tells it.
                let _ = rejection.show(color);
                Exit::Refused
            }
            Self::Unreachable(_) | Self::Silent { .. } => self.warn(color, Exit::Unreachable),
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
            Self::Silent { address, why } => write!(
                f,
                "no proxy answers at {address}: {why}\n  = hint: start one with `sluice run FILE` or `sluice proxy`, or say \
                 where its status listener is with --status"
            ),
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
        let Refused { code, detail, problems, omitted, .. } = &self.refused;
        let hint = self.hint();
        if !problems.is_empty() {
            let (name, text) = self.document.as_ref().map_or(("the document", ""), |(name, text)| (name, text));
            f.write_str(report(&self.shown(), *omitted, name, text).trim_end())?;
            return hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"));
        }
        // Several things can be wrong at once; each has a line.
        let lines: Vec<String> = detail.lines().map(|line| format!("error[{code}]: {line}")).collect();
        f.write_str(&lines.join("\n"))?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"))
    }
}

impl Rejection {
    /// What to do, in the words of the command line where those of the API are others.
    fn hint(&self) -> Option<String> {
        match (self.refused.code.as_str(), self.refused.head) {
            ("stale", Some(head)) => {
                Some(format!("look at what changed (`sluice history`, `sluice diff`), then give --if-revision {head}"))
            }
            _ => self.refused.hint.clone(),
        }
    }

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;

    fn rejected(more: Value) -> Failure {
        let mut told = json!({ "type": "about:blank", "title": "Refused", "status": 409 });
        told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Rejection::new(canned::read(told.clone()), told, Output::Table).into()
    }

    #[test]
    fn refusals_say_what_to_do() {
        let owned = |service: &str| {
            format!(
                "the weights of {service} are the operator's (ann, since 2026-11-26T09:56:48.000Z: try v2), and the \
                     document changes v2 5 -> 50"
            )
        };
        let all = [
            rejected(
                json!({ "code": "no-service", "detail": "there is no service shap", "hint": "did you mean `shop`?" }),
            ),
            rejected(json!({ "code": "owned", "detail": format!("{}\n{}", owned("shop"), owned("books")),
                             "hint": "leave these weights as they were, or take them back with --take-weights" })),
            rejected(json!({ "code": "stale", "detail": "revision 1 was expected, and the head is 2", "head": 2,
                             "hint": "send the new number in If-Match" })),
            rejected(json!({ "code": "unauthenticated", "detail": "no token was shown" })),
            rejected(json!({ "code": "problems", "detail": "the document has 2 problems", "omitted": 1, "problems": [
                { "code": "named-by-overlay", "path": "services[0].versions", "line": 2, "column": 5,
                  "message": "v2 has 5% of the live weights", "hint": "shift it away first: sluice shift shop v2=0%" },
            ] }))
            .about("shop.yaml", "services:\n  - name: shop\n"),
            Failure::Foreign { status: StatusCode::NOT_FOUND },
            Failure::Silent { address: ([127, 0, 0, 1], 9901).into(), why: "nobody listens there".to_owned() },
            Failure::Unreachable(Unreachable(vec![
                ("unix:./.sluice/admin.sock".to_owned(), "there is no such socket".to_owned()),
                ("http://127.0.0.1:9900".to_owned(), "nobody listens there".to_owned()),
            ])),
        ];
        let told: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n\n"));
    }
}
