//! What is wrong with a document: where, why, and what to do about it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::limit;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What kind of problem it is. Its text is stable: tools may rely on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as it is printed, in kebab-case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The file has nothing in it.
    EmptyDocument = "empty-document",
    /// The file is not text.
    NotText = "not-text",
    /// The text is neither YAML nor JSON.
    Syntax = "syntax",
    /// More than one document in a file.
    SeveralDocuments = "several-documents",
    /// Something that YAML allows and a document does not: tags, merge keys, keys that are not text.
    UnsupportedYaml = "unsupported-yaml",
    /// An alias without its anchor, or inside of it.
    BadAlias = "bad-alias",
    /// A key that stands twice in one map.
    DuplicateKey = "duplicate-key",
    /// The document is larger than `limit` allows.
    OverLimit = "over-limit",
    /// `${NAME}` without such a variable.
    UnsetVariable = "unset-variable",
    /// `${` that is not followed by a name and `}`.
    BadReference = "bad-reference",
    /// A field that does not exist.
    UnknownField = "unknown-field",
    /// A field that must be there.
    MissingField = "missing-field",
    /// A text where a number is needed, and the like.
    WrongType = "wrong-type",
    /// A word that is not among those that are possible.
    UnknownValue = "unknown-value",
    /// A number or size outside its range.
    OutOfRange = "out-of-range",
    /// A list or map without anything in it.
    EmptyList = "empty-list",
    /// A name with characters that names do not have.
    BadName = "bad-name",
    /// Not a duration.
    BadDuration = "bad-duration",
    /// Not a size.
    BadSize = "bad-size",
    /// Not a share of a whole.
    BadShare = "bad-share",
    /// Not an address, or an endpoint at one that nothing can have.
    BadAddress = "bad-address",
    /// Not a network.
    BadNetwork = "bad-network",
    /// Not a host pattern.
    BadHost = "bad-host",
    /// Not a path.
    BadPath = "bad-path",
    /// Not a regular expression, or one that is too large.
    BadRegex = "bad-regex",
    /// Not a method.
    BadMethod = "bad-method",
    /// Not the name of a header, cookie or parameter, or not a value of one.
    BadField = "bad-field",
    /// Two things of one kind with one name.
    DuplicateName = "duplicate-name",
    /// One value twice in a list where each counts once.
    DuplicateValue = "duplicate-value",
    /// One address twice in a pool.
    DuplicateEndpoint = "duplicate-endpoint",
    /// The name of a service or version that is not there.
    DanglingReference = "dangling-reference",
    /// Endpoints in a region that is not there.
    UndeclaredRegion = "undeclared-region",
    /// Fields that exclude each other.
    Conflict = "conflict",
    /// No weight above 0 among siblings.
    AllWeightsZero = "all-weights-zero",
    /// More than one primary region.
    SeveralPrimaries = "several-primaries",
    /// A standby region with a share.
    StandbyWeight = "standby-weight",
    /// Nothing but standby regions.
    OnlyStandby = "only-standby",
    /// Two listeners that cannot both be bound.
    SameAddress = "same-address",
    /// Two routes that match the same requests.
    SameMatch = "same-match",
    /// A route that an earlier one always hides.
    UnreachableRoute = "unreachable-route",
    /// A kind of request that no region with endpoints of the service serves.
    UnservedCapability = "unserved-capability",
    /// A health check whose timeout is longer than its interval.
    TimeoutAboveInterval = "timeout-above-interval",
    /// What was changed live names a service or version that the document does not have.
    NamedByOverlay = "named-by-overlay",
    /// An endpoint that is Sluice itself: a listener of the document, or an admin address of the control plane.
    OwnAddress = "own-address",
    /// A file that the document names and that cannot be used, as a command found that looked at it.
    UnusableFile = "unusable-file",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A place in the text. Both count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// One step from a value to one inside of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The field of a map.
    Field(String),
    /// The item of a list, counted from 0.
    Item(usize),
}

/// The way from the document to a value in it, written `services[0].versions[1].weight`. Empty: the document itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path(Vec<Step>);

impl Path {
    /// The steps from the document downwards.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The way to a field of the map there.
    #[must_use]
    pub fn field(mut self, name: &str) -> Self {
        self.0.push(Step::Field(name.to_owned()));
        self
    }

    /// The way to an item of the list there.
    #[must_use]
    pub fn item(mut self, index: usize) -> Self {
        self.0.push(Step::Item(index));
        self
    }

    pub(crate) fn steps_mut(&mut self) -> &mut [Step] {
        &mut self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Field(name) if !is_plain(name) => write!(f, "[{}]", quote(name))?,
                Step::Field(name) if place == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A text from the document inside a message: in quotes, escaped, and cut when it is long.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// Which value.
    pub path: Path,
    /// Where it is written; absent when the problem is with the file as a whole.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, path: Path, position: Position, message: impl Into<String>) -> Self {
        Self { code, path, position: Some(position), message: message.into(), hint: None }
    }

    pub(crate) fn of_file(code: Code, message: impl Into<String>) -> Self {
        Self { code, path: Path::default(), position: None, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line: `7:13: services[0].weight: message (code)`, then the hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.steps().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} ({})", self.message, self.code)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Everything that is wrong, in the order of the text. Never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Problems {
    /// The first [`limit::PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.problems.len() < limit::PROBLEMS {
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Brings the problems into the order of the text.
    pub(crate) fn sorted(mut self) -> Self {
        self.problems.sort_by_key(|problem| problem.position);
        self
    }

    /// How many there are, told or only counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len() + self.omitted
    }

    /// The report for people: each problem with its line of the text. See [`report`](crate::report).
    #[must_use]
    pub fn render(&self, file_name: &str, text: &str) -> String {
        crate::report::render(self, file_name, text)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], omitted: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        if self.omitted > 0 { write!(f, "\nand {} more", self.omitted) } else { Ok(()) }
    }
}

impl std::error::Error for Problems {}
