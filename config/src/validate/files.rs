//! What was found wrong with files that a sound document names. Looking at files is not done here; where they are named
//! in the text is known here.

use std::fmt;

use crate::problem::{Code, Path, Problem, Problems};
use crate::tree::{self, Environment};

/// A file that a document names and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableFile {
    /// Which value names it.
    pub path: Path,
    /// What is wrong with it, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// `listeners[0].tls.certificates[0].key: message; hint`.
impl fmt::Display for UnusableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.message, self.hint)
    }
}

/// Refuses a sound document for files that somebody found unusable. Costs another reading of the text; linear.
///
/// # Errors
/// A problem for each of the files, in the order of the text.
pub fn refuse_files(text: &str, environment: &Environment, found: &[UnusableFile]) -> Result<(), Problems> {
    // What cannot be read was refused before.
    let root = tree::read(text, environment, &mut Problems::default()).ok();
    let mut problems = Problems::default();
    for file in found {
        let problem = match &root {
            Some(root) => {
                let (path, position) = root.locate(file.path.clone());
                Problem::new(Code::UnusableFile, path, position, file.message.as_str())
            }
            None => Problem::of_file(Code::UnusableFile, file.message.as_str()),
        };
        problems.push(problem.hint(file.hint.as_str()));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.sorted()) }
}
