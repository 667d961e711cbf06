//! The document that a command is about: read, proven, or shown with all of its problems.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use sluice_config::{Environment, Problems, Source};
use sluice_control::Unreadable;

use crate::terminal::{Color, Tone, warn};

/// A sound document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// A document that is not sound.
#[derive(Debug)]
pub(crate) struct Unsound {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) problems: Problems,
}

/// The variables of this process. Those that are not UTF-8 cannot stand in a document and are left out.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads and proves a document.
///
/// # Errors
/// The file cannot be read. A document that was read and is not sound is the inner error.
pub(crate) fn open(path: &Path) -> anyhow::Result<Result<Document, Unsound>> {
    let content = sluice_control::read(path).map_err(|why| unreadable(path, &why))?;
    let path = path.to_owned();
    let source = sluice_config::decode(&content).and_then(|text| sluice_config::read(text, &environment()));
    Ok(match source {
        Ok(source) => Ok(Document { path, source }),
        Err(problems) => Err(Unsound { path, content, problems }),
    })
}

/// The error of a file that gave nothing.
pub(crate) fn unreadable(path: &Path, why: &Unreadable) -> anyhow::Error {
    anyhow!("cannot read {}: {why}", path.display())
}

impl Unsound {
    /// Shows all problems, each with its line and a caret under the place, on standard error.
    pub(crate) fn show(&self, color: Color) {
        let paint = color.stderr();
        let report = self.problems.render(&self.path.display().to_string(), &String::from_utf8_lossy(&self.content));
        for line in report.lines() {
            let tone = if line.starts_with("error[") { Tone::Bad } else { Tone::Plain };
            warn(&paint.tone(tone, line));
        }
    }
}
