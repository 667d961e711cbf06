//! The document that a command is about: read, proven, or shown with all of its problems.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};
use sluice_config::{Environment, Problems, Source};
use sluice_control::Unreadable;

use crate::cli::{Exit, Output};
use crate::terminal::{Color, Tone, print, warn};
use crate::value::render;

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

/// Where relative paths in the document of this file begin.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new(""))
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

/// As [`open`], and the files that the document names are looked at too: they are on this machine where it is to run here.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_with_files(path: &Path) -> anyhow::Result<Result<Document, Unsound>> {
    let content = sluice_control::read(path).map_err(|why| unreadable(path, &why))?;
    let path = path.to_owned();
    let source = sluice_config::decode(&content).and_then(|text| {
        let source = sluice_config::read(text, &environment())?;
        let found = sluice_proxy::unusable_files(&source.validated, folder_of(&path));
        sluice_config::refuse_files(text, &environment(), &found).map(|()| source)
    });
    Ok(match source {
        Ok(source) => Ok(Document { path, source }),
        Err(problems) => Err(Unsound { path, content, problems }),
    })
}

/// A sound document on its way to a control plane.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What it is called where its text is shown.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) text: String,
}

/// Reads and proves a document to be sent: as it is written, with its comments, if it means the same elsewhere; as JSON with
/// this process's variables filled in where it names some.
///
/// # Errors
/// As [`open`].
pub(crate) fn sent(path: &Path) -> anyhow::Result<Result<Sent, Unsound>> {
    let content = sluice_control::read(path).map_err(|why| unreadable(path, &why))?;
    let name = path.display().to_string();
    Ok(match sluice_config::decode(&content).and_then(|text| portable(&name, text)) {
        Ok(sent) => Ok(sent),
        Err(problems) => Err(Unsound { path: path.to_owned(), content, problems }),
    })
}

fn portable(name: &str, text: &str) -> Result<Sent, Problems> {
    let here = sluice_config::read(text, &environment())?;
    let anywhere = sluice_config::validate(text, &Environment::empty());
    Ok(match anywhere {
        Ok(anywhere) if anywhere.digest == here.validated.digest => {
            Sent { name: name.to_owned(), text: text.to_owned() }
        }
        Ok(_) | Err(_) => Sent { name: format!("{name} (its variables filled in)"), text: here.json },
    })
}

/// The error of a file that gave nothing.
pub(crate) fn unreadable(path: &Path, why: &Unreadable) -> anyhow::Error {
    anyhow!("cannot read {}: {why}", path.display())
}

impl Unsound {
    /// Tells all problems in this form.
    ///
    /// # Errors
    /// Nobody reads them.
    pub(crate) fn tell(&self, form: Output, color: Color) -> anyhow::Result<Exit> {
        match form {
            Output::Table => self.show(color),
            Output::Json | Output::Yaml => print([render(&self.value(), form)?])?,
        }
        Ok(Exit::Refused)
    }

    /// All problems, for machines.
    fn value(&self) -> Value {
        json!({ "sound": false, "problems": self.problems.problems, "omitted": self.problems.omitted })
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_sent_and_variables_are_not() {
        let text = "# ours\nlisteners: [{ name: web, address: \"127.0.0.1:8080\" }]\n\
                    services: [{ name: shop, endpoints: [\"127.0.0.1:9000\"] }]\nroutes: [{ service: shop }]\n";
        let sent = portable("a.yaml", text).unwrap();
        assert_eq!((sent.name.as_str(), sent.text.as_str()), ("a.yaml", text));
        let text = text.replace("127.0.0.1:8080", "127.0.0.1:${SLUICE_NO_SUCH_VARIABLE:-8080}");
        assert_eq!(portable("a.yaml", &text).unwrap().text, text, "its default holds everywhere");
        let text = text.replace("${SLUICE_NO_SUCH_VARIABLE:-8080}", "${CARGO_PKG_VERSION_MINOR}");
        let sent = portable("a.yaml", &text.replace("127.0.0.1:$", "127.0.0.1:808$"));
        let sent = sent.unwrap();
        assert!(sent.name.contains("filled in") && !sent.text.contains('$'), "{sent:?}");
        assert!(sluice_config::validate(&sent.text, &Environment::empty()).is_ok());
    }
}
