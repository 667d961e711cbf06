//! The file of tokens: who may do what, and how each is known.
//!
//! A line is `NAME ROLE TOKEN` or `NAME ROLE sha256:HEX`; what begins with `#` and blank lines are left out. Only the
//! SHA-256 of a token is kept. A fast digest is right here, unlike for passwords: a token has at least 32 characters and
//! is drawn by chance, so there is nothing to try out. Looking one up compares all of them and each in full, so that the
//! time says neither which was nearly right nor where it stands.
//!
//! # Invariants
//! - No message, and no `Debug`, has anything from a line of the file: whoever swaps two fields must not find their token
//!   in a log. Lines are told by number.
//! - A name and a token stand once, so that what was done has one author.

use std::collections::BTreeMap;
use std::fmt;

use sluice_config::overlay::Author;
use sluice_config::value::Digest;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Role;

/// The fewest characters of a token.
const SHORTEST: usize = 32;
/// The most characters of a token.
const LONGEST: usize = 512;
/// What automatic decisions are signed with, and therefore no token.
const RESERVED: [&str; 5] = ["sluice", "file", "unix", "local", "unknown"];

/// Every token that is known.
#[derive(Clone)]
pub struct Tokens(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    name: Author,
    role: Role,
    digest: Digest,
}

/// Who there is, and no more.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.holders().map(|(name, role)| (name.as_str(), role))).finish()
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Not three words.
    Words(usize),
    /// The first is no name.
    Name,
    /// The first is a name that Sluice signs with.
    Reserved,
    /// The second is no role.
    Role,
    /// The third has so few characters.
    Short(usize),
    /// The third has so many characters.
    Long(usize),
    /// The third has a character that no token has.
    Character,
    /// What follows `sha256:` is no digest.
    Digest,
    /// The name stands in this line too.
    SameName(usize),
    /// The token stands in this line too.
    SameToken(usize),
    /// There is no token in the file: nobody could ask for anything.
    Empty,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(count) => write!(f, "there are {count} words where NAME ROLE TOKEN is needed"),
            Self::Name => write!(f, "the name has more than {} bytes or characters that are not shown", Author::MAX),
            Self::Reserved => write!(f, "the name is one that Sluice itself signs with: {}", RESERVED.join(", ")),
            Self::Role => f.write_str("the role is not viewer, operator, admin or node"),
            Self::Short(count) => write!(
                f,
                "the token has {count} characters and needs {SHORTEST}: make one with `openssl rand -base64 33`"
            ),
            Self::Long(count) => write!(f, "the token has {count} characters, and at most {LONGEST} are allowed"),
            Self::Character => f.write_str("the token has characters other than A-Z, a-z, 0-9 and _ - . ~ + / ="),
            Self::Digest => f.write_str("after sha256: the 64 hexadecimal digits of the token's SHA-256 are needed"),
            Self::SameName(line) => write!(f, "the name stands in line {line} too"),
            Self::SameToken(line) => write!(f, "the token stands in line {line} too"),
            Self::Empty => f.write_str("there is no token in the file, so that nobody could ask for anything"),
        }
    }
}

/// What is wrong where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenProblem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub defect: Defect,
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.defect)
    }
}

/// Everything that is wrong with a file of tokens, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenProblems(pub Vec<TokenProblem>);

impl fmt::Display for TokenProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for TokenProblems {}

impl Tokens {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TokenProblems> {
        let mut reading = Reading::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                reading.line(line, text);
            }
        }
        if reading.entries.is_empty() && reading.problems.is_empty() {
            reading.problems.push(TokenProblem { line: 1, defect: Defect::Empty });
        }
        let Reading { entries, problems, .. } = reading;
        if problems.is_empty() { Ok(Self(entries)) } else { Err(TokenProblems(problems)) }
    }

    /// Whose token this is, and what they may do. Takes as long for every token of one length.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<(&Author, Role)> {
        let digest = Digest::of(token.as_bytes());
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (at, entry) in (0_u64..).zip(&self.0) {
            let same = entry.digest.as_bytes().ct_eq(digest.as_bytes());
            place.conditional_assign(&at, same);
            found |= same;
        }
        let entry = self.0.get(usize::try_from(place).ok()?).filter(|_| bool::from(found))?;
        Some((&entry.name, entry.role))
    }

    /// Everybody who has a token, in the order of the file.
    pub fn holders(&self) -> impl Iterator<Item = (&Author, Role)> {
        self.0.iter().map(|entry| (&entry.name, entry.role))
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    entries: Vec<Entry>,
    problems: Vec<TokenProblem>,
    names: BTreeMap<Author, usize>,
    digests: BTreeMap<[u8; 32], usize>,
}

impl Reading {
    fn line(&mut self, line: usize, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, role, token] = words[..] else {
            return self.problems.push(TokenProblem { line, defect: Defect::Words(words.len()) });
        };
        let name = self.name(line, name);
        let role = self.keep(line, role_of(role));
        let digest = self.digest(line, token);
        if let (Some(name), Some(role), Some(digest)) = (name, role, digest) {
            self.entries.push(Entry { name, role, digest });
        }
    }

    fn name(&mut self, line: usize, text: &str) -> Option<Author> {
        let name: Author = self.keep(line, text.parse().map_err(|_| Defect::Name))?;
        let is_reserved = RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name.as_str()));
        let free = if is_reserved { Err(Defect::Reserved) } else { Ok(()) };
        let first = *self.names.entry(name.clone()).or_insert(line);
        let once = if first == line { Ok(()) } else { Err(Defect::SameName(first)) };
        self.keep(line, free.and(once)).map(|()| name)
    }

    fn digest(&mut self, line: usize, token: &str) -> Option<Digest> {
        let digest = self.keep(line, digest_of(token))?;
        let first = *self.digests.entry(*digest.as_bytes()).or_insert(line);
        let once = if first == line { Ok(()) } else { Err(Defect::SameToken(first)) };
        self.keep(line, once).map(|()| digest)
    }

    fn keep<T>(&mut self, line: usize, read: Result<T, Defect>) -> Option<T> {
        read.map_err(|defect| self.problems.push(TokenProblem { line, defect })).ok()
    }
}

fn role_of(word: &str) -> Result<Role, Defect> {
    Role::ALL.into_iter().find(|role| role.as_str() == word).ok_or(Defect::Role)
}

fn digest_of(token: &str) -> Result<Digest, Defect> {
    if let Some(digits) = token.strip_prefix("sha256:") {
        return Digest::try_from(digits.to_owned()).map_err(|_| Defect::Digest);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.~+/=".contains(&byte);
    match token.chars().count() {
        _ if !token.bytes().all(is_plain) => Err(Defect::Character),
        count if count < SHORTEST => Err(Defect::Short(count)),
        count if count > LONGEST => Err(Defect::Long(count)),
        _ => Ok(Digest::of(token.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANN: &str = "ann-0123456789abcdef0123456789ab";
    const BOB: &str = "bob-_.~+/=0123456789abcdef012345";

    fn problems(text: &str) -> Vec<String> {
        Tokens::parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_token_is_its_holders_and_nobody_elses() {
        let digest = Digest::of(BOB.as_bytes());
        let text = format!("# people\n\n  ann\tadmin {ANN}\r\nbob viewer sha256:{digest}\n");
        let tokens = Tokens::parse(&text).unwrap();
        let find = |token: &str| tokens.find(token).map(|(name, role)| (name.as_str(), role));
        assert_eq!(find(ANN), Some(("ann", Role::Admin)));
        assert_eq!(find(BOB), Some(("bob", Role::Viewer)));
        for other in ["", "ann", &ANN[1..], &format!("{ANN}x"), &digest.to_string(), &format!("sha256:{digest}")] {
            assert_eq!(find(other), None, "{other:?}");
        }
        assert_eq!(tokens.holders().count(), 2);
    }

    #[test]
    fn all_problems_are_told_at_once_by_line() {
        let text = format!(
            "ann admin\nann root short\nann viewer {ANN}\nsluice node {ANN}\nbob node {BOB}!\nbob node sha256:12\n\
             carl node {}\n{} admin {BOB}",
            "x".repeat(513),
            "n".repeat(129),
        );
        assert_eq!(
            problems(&text),
            [
                "line 1: there are 2 words where NAME ROLE TOKEN is needed",
                "line 2: the role is not viewer, operator, admin or node",
                "line 2: the token has 5 characters and needs 32: make one with `openssl rand -base64 33`",
                "line 3: the name stands in line 2 too",
                "line 4: the name is one that Sluice itself signs with: sluice, file, unix",
                "line 4: the token stands in line 3 too",
                "line 5: the token has characters other than A-Z, a-z, 0-9 and _ - . ~ + / =",
                "line 6: the name stands in line 5 too",
                "line 6: after sha256: the 64 hexadecimal digits of the token's SHA-256 are needed",
                "line 7: the token has 513 characters, and at most 512 are allowed",
                "line 8: the name has more than 128 bytes or characters that are not shown",
            ]
        );
        let empty = "line 1: there is no token in the file, so that nobody could ask for anything";
        assert_eq!(problems("# nobody\n"), [empty]);
    }

    #[test]
    fn a_digest_and_its_token_are_one_token() {
        let text = format!("ann admin {ANN}\nbob node sha256:{}\n", Digest::of(ANN.as_bytes()));
        assert_eq!(problems(&text), ["line 2: the token stands in line 1 too"]);
    }

    #[test]
    fn debug_tells_no_token_and_no_digest() {
        let tokens = Tokens::parse(&format!("ann admin {ANN}\n")).unwrap();
        assert_eq!(format!("{tokens:?}"), r#"{"ann": Admin}"#);
    }

    proptest! {
        /// However the fields of a line are mixed up, no message has any of them.
        #[test]
        fn no_message_has_anything_of_the_file(
            lines in prop::collection::vec(prop::collection::vec("QQ[A-Za-z0-9+/=!é]{1,60}|admin", 1..5), 1..6),
        ) {
            let text = lines.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join("\n");
            if let Err(problems) = Tokens::parse(&text) {
                let told = format!("{problems} {problems:?}");
                prop_assert!(!told.contains("QQ"), "{}", told);
            }
        }

        /// Each of many tokens is found as its own holder's.
        #[test]
        fn every_token_is_found(tokens in prop::collection::btree_set("[A-Za-z0-9_.~+/=-]{32,64}", 1..20)) {
            let line = |(at, token): (usize, &String)| format!("n{at} node {token}");
            let text = tokens.iter().enumerate().map(line).collect::<Vec<_>>().join("\n");
            let read = Tokens::parse(&text).unwrap();
            for (at, token) in tokens.iter().enumerate() {
                prop_assert_eq!(read.find(token).map(|(name, _)| name.to_string()), Some(format!("n{at}")));
                prop_assert!(read.find(&token[1..]).is_none());
            }
        }
    }
}
