//! Decides the one form in which a path is routed, logged and sent to the origin.
//!
//! Two servers that read one path differently are how a rule is passed by: the proxy routes `/public/..%2fadmin` to what
//! is public, and the origin serves `/admin`. The obvious other way, to route by a cleaned copy and to send what the client
//! wrote, makes that difference itself. So there is one form only: what a listener's policy makes of a path is what routes
//! see, and the same bytes go to the origin.
//!
//! - Percent-encodings of letters, digits, `-`, `.`, `_` and `~` are decoded, and the digits of all others are written in
//!   upper case (RFC 3986, 6.2.2): these spellings mean the same to every reader. No other character is decoded: `%2F` is
//!   not `/`, and `%25` stays, so what was encoded twice is decoded once at most.
//! - Dot segments are resolved (5.2.4) or refused, `%2e` like `.`. One that leads above the root is refused: the RFC would
//!   drop it, and only an attack has it.
//! - Encoded slashes and backslashes are kept, refused, or decoded (a backslash is refused then). Where they are kept, a dot
//!   segment that begins or ends at one is refused, and so is one with a parameter (`..;a`): some origins see through
//!   them, and then read what was not routed.
//! - Empty segments stay unless slashes are merged.
//!
//! Invariants: the form of a form is itself; it is never longer; it begins with `/`; no segment of it is `.` or `..`,
//! also when encoded slashes are taken for slashes.

use crate::validated::{DotSegments, EncodedSlashes, Paths};

/// The path at the beginning of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// Where it ends: at the `?`, or with the target.
    pub end: usize,
    /// Whether it is its own normal form under every policy.
    pub plain: bool,
}

/// Reads the path of a target of visible ASCII. One pass; most bytes are looked at once.
///
/// # Errors
/// A fragment, a backslash, a percent sign that two hexadecimal digits do not follow, and the encodings of NUL, CR and LF,
/// behind which each origin reads something else. The word is the rule that was broken.
#[inline]
pub fn inspect(target: &[u8]) -> Result<Inspected, &'static str> {
    let mut plain = true;
    for (at, byte) in target.iter().enumerate() {
        if !ODD[usize::from(*byte)] {
            continue;
        }
        match byte {
            b'?' => return Ok(Inspected { end: at, plain }),
            b'.' | b'/' => plain &= at == 0 || target[at - 1] != b'/',
            _ => {
                check_odd(target, at)?;
                plain = false;
            }
        }
    }
    Ok(Inspected { end: target.len(), plain })
}

/// What is looked at in a path.
const ODD: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < ODD_BYTES.len() {
        table[ODD_BYTES[at] as usize] = true;
        at += 1;
    }
    table
};
const ODD_BYTES: &[u8] = b"?#\\%./";

#[cold]
fn check_odd(target: &[u8], at: usize) -> Result<(), &'static str> {
    match (target[at], target.get(at + 1..at + 3)) {
        (b'#', _) => Err("target_fragment"),
        (b'\\', _) => Err("target_backslash"),
        (_, Some([b'0', b'0' | b'a' | b'A' | b'd' | b'D'])) => Err("target_encoded_control"),
        (_, Some([high, low])) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Ok(()),
        _ => Err("target_encoding"),
    }
}

/// Brings a path that [`inspect`] passed into its normal form, in place, and says how long it is then. Linear; allocates
/// nothing.
///
/// # Errors
/// What the policy refuses, or what has no form that all origins read alike. The word is the rule that was broken; the
/// bytes are of no use then.
pub fn normalize(path: &mut [u8], policy: Paths) -> Result<usize, &'static str> {
    let length = decode(path, policy.encoded_slashes)?;
    resolve(&mut path[..length], policy)
}

/// What becomes of one percent-encoding.
enum Decoded {
    Byte(u8),
    Kept,
}

fn decode(path: &mut [u8], slashes: EncodedSlashes) -> Result<usize, &'static str> {
    let (mut read, mut write) = (0, 0);
    while let Some(byte) = path.get(read).copied() {
        let encoded = if byte == b'%' { path.get(read + 1..read + 3).and_then(value) } else { None };
        let Some(value) = encoded else {
            path[write] = byte;
            (read, write) = (read + 1, write + 1);
            continue;
        };
        match judge(value, slashes)? {
            Decoded::Byte(byte) => {
                path[write] = byte;
                write += 1;
            }
            Decoded::Kept => {
                path.copy_within(read..read + 3, write);
                path[write..write + 3].make_ascii_uppercase();
                write += 3;
            }
        }
        read += 3;
    }
    Ok(write)
}

fn value(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

const fn judge(value: u8, slashes: EncodedSlashes) -> Result<Decoded, &'static str> {
    match (value, slashes) {
        (b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z', _) => Ok(Decoded::Byte(value)),
        (b'/' | b'\\', EncodedSlashes::Refuse) => Err("target_encoded_slash"),
        (b'/', EncodedSlashes::Decode) => Ok(Decoded::Byte(b'/')),
        (b'\\', EncodedSlashes::Decode) => Err("target_backslash"),
        _ => Ok(Decoded::Kept),
    }
}

fn resolve(path: &mut [u8], policy: Paths) -> Result<usize, &'static str> {
    let (mut slash, mut write) = (0, 0);
    while slash < path.len() {
        let start = slash + 1;
        let end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
        let last = end == path.len();
        match Segment::of(&path[start..end])? {
            Segment::Dot | Segment::Parent if policy.dot_segments == DotSegments::Refuse => {
                return Err("target_dot_segment");
            }
            Segment::Empty if policy.merge_slashes && !last => {}
            Segment::Empty | Segment::Name => {
                path.copy_within(slash..end, write);
                write += end - slash;
            }
            dots @ (Segment::Dot | Segment::Parent) => {
                if matches!(dots, Segment::Parent) {
                    write = path[..write].iter().rposition(|byte| *byte == b'/').ok_or("target_above_root")?;
                }
                if last {
                    path[write] = b'/';
                    write += 1;
                }
            }
        }
        slash = end;
    }
    Ok(write)
}

enum Segment {
    Empty,
    Dot,
    Parent,
    Name,
}

impl Segment {
    fn of(segment: &[u8]) -> Result<Self, &'static str> {
        match segment {
            b"" => Ok(Self::Empty),
            b"." => Ok(Self::Dot),
            b".." => Ok(Self::Parent),
            _ if parts(segment).any(|part| without_parameter(part) != part && is_dots(without_parameter(part))) => {
                Err("target_dot_parameter")
            }
            _ if parts(segment).any(is_dots) => Err("target_encoded_dot_segment"),
            _ => Ok(Self::Name),
        }
    }
}

fn is_dots(part: &[u8]) -> bool {
    matches!(part, b"." | b"..")
}

/// The segments of a segment, to a reader that takes encoded slashes for slashes.
fn parts(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let whole = rest?;
        let cut = whole.windows(3).position(|three| matches!(three, b"%2F" | b"%5C"));
        rest = cut.map(|at| &whole[at + 3..]);
        Some(&whole[..cut.unwrap_or(whole.len())])
    })
}

/// Up to the semicolon, written or encoded, that begins a parameter.
fn without_parameter(part: &[u8]) -> &[u8] {
    let end = (0..part.len()).find(|at| part[*at] == b';' || part[*at..].starts_with(b"%3B"));
    &part[..end.unwrap_or(part.len())]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESOLVE: Paths =
        Paths { dot_segments: DotSegments::Resolve, encoded_slashes: EncodedSlashes::Keep, merge_slashes: false };
    const REFUSE: Paths =
        Paths { dot_segments: DotSegments::Refuse, encoded_slashes: EncodedSlashes::Refuse, merge_slashes: false };
    const DECODE: Paths =
        Paths { dot_segments: DotSegments::Resolve, encoded_slashes: EncodedSlashes::Decode, merge_slashes: true };

    fn normal(path: &str, policy: Paths) -> Result<String, &'static str> {
        let mut bytes = path.as_bytes().to_vec();
        let found = inspect(&bytes)?;
        assert_eq!(found.end, bytes.len(), "{path}");
        let length = normalize(&mut bytes, policy)?;
        bytes.truncate(length);
        let text = String::from_utf8(bytes).unwrap();
        assert!(!found.plain || text == path, "{path} is plain and became {text}");
        Ok(text)
    }

    #[test]
    fn dot_segments_are_resolved() {
        for (path, form) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/.", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/a//../b", "/a/b"),
            ("//a//", "//a//"),
            ("/a/...", "/a/..."),
            ("/.a/..b/c.", "/.a/..b/c."),
            ("/a;b/..c;d", "/a;b/..c;d"),
        ] {
            assert_eq!(normal(path, RESOLVE).as_deref(), Ok(form), "{path}");
        }
        for above in ["/..", "/a/../..", "/../a", "/%2e%2e/", "/a/../../a"] {
            assert_eq!(normal(above, RESOLVE), Err("target_above_root"), "{above}");
        }
    }

    #[test]
    fn spellings_that_mean_the_same_become_the_same() {
        assert_eq!(normal("/%61%41%7e%2D%5f%39", RESOLVE).as_deref(), Ok("/aA~-_9"));
        assert_eq!(normal("/%c3%a9%3a:%20", RESOLVE).as_deref(), Ok("/%C3%A9%3A:%20"));
        assert_eq!(normal("/%252e%252e/%2541", RESOLVE).as_deref(), Ok("/%252e%252e/%2541"));
    }

    #[test]
    fn encoded_slashes_are_kept_refused_or_decoded() {
        assert_eq!(normal("/a%2fb%5cc", RESOLVE).as_deref(), Ok("/a%2Fb%5Cc"));
        assert_eq!(normal("/a%2fb", REFUSE), Err("target_encoded_slash"));
        assert_eq!(normal("/a%5Cb", REFUSE), Err("target_encoded_slash"));
        assert_eq!(normal("/a%2fb%2F..%2f%2fc", DECODE).as_deref(), Ok("/a/c"));
        assert_eq!(normal("/a%5Cb", DECODE), Err("target_backslash"));
        assert_eq!(normal("//a///b//", DECODE).as_deref(), Ok("/a/b/"));
    }

    #[test]
    fn what_an_origin_could_see_through_is_refused() {
        for path in ["/a/..%2fb", "/a%2F..", "/a%2f.%2fb", "/..%5cb", "/a/%2e%2e%2fb", "/a%5c%2e%2e"] {
            assert_eq!(normal(path, RESOLVE), Err("target_encoded_dot_segment"), "{path}");
        }
        for path in ["/a/..;/b", "/a/.;x/b", "/a/..;x=y", "/a/%2e%2e;/b", "/a/..%3b/b", "/a%2f..;/b"] {
            assert_eq!(normal(path, RESOLVE), Err("target_dot_parameter"), "{path}");
        }
        for path in ["/a/../b", "/a/.", "/%2e/a"] {
            assert_eq!(normal(path, REFUSE), Err("target_dot_segment"), "{path}");
        }
    }

    #[test]
    fn a_path_ends_at_its_query() {
        assert_eq!(inspect(b"/a?b/../c#"), Ok(Inspected { end: 2, plain: true }));
        assert_eq!(inspect(b""), Ok(Inspected { end: 0, plain: true }));
        for (target, plain) in [("/a.b/c", true), ("/a/.b", false), ("/a//b", false), ("/a%20b", false), ("/.", false)]
        {
            assert_eq!(inspect(target.as_bytes()), Ok(Inspected { end: target.len(), plain }), "{target}");
        }
        for (target, rule) in [
            ("/a#b", "target_fragment"),
            ("/a\\b", "target_backslash"),
            ("/%", "target_encoding"),
            ("/%4", "target_encoding"),
            ("/%zz", "target_encoding"),
            ("/%00", "target_encoded_control"),
            ("/%0d%0a", "target_encoded_control"),
        ] {
            assert_eq!(inspect(target.as_bytes()), Err(rule), "{target}");
        }
    }

    fn policy() -> impl Strategy<Value = Paths> {
        let dots = prop::sample::select(vec![DotSegments::Resolve, DotSegments::Refuse]);
        let slashes = prop::sample::select(vec![EncodedSlashes::Keep, EncodedSlashes::Refuse, EncodedSlashes::Decode]);
        (dots, slashes, any::<bool>()).prop_map(|(dot_segments, encoded_slashes, merge_slashes)| Paths {
            dot_segments,
            encoded_slashes,
            merge_slashes,
        })
    }

    /// Paths of the pieces that matter.
    fn path() -> impl Strategy<Value = String> {
        let pieces =
            ["/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "a", "%61", "%25", ";", "%3b", "b.c", "%7E"];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12)
            .prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(path in path(), policy in policy()) {
            if let Ok(form) = normal(&path, policy) {
                prop_assert_eq!(normal(&form, policy), Ok(form.clone()), "{}", path);
                prop_assert!(form.starts_with('/') && form.len() <= path.len());
            }
        }

        #[test]
        fn no_reader_finds_a_dot_segment_in_it(path in path(), policy in policy()) {
            if let Ok(form) = normal(&path, policy) {
                let seen = form.replace("%2F", "/").replace("%5C", "/");
                let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
                prop_assert!(!seen.split('/').any(dots), "{} became {}", path, form);
                prop_assert!(!policy.merge_slashes || !form.contains("//"), "{} became {}", path, form);
            }
        }

        /// Against the words of RFC 3986, 5.2.4, where nothing is refused.
        #[test]
        fn resolving_is_what_the_rfc_says(path in "(/(\\.|\\.\\.|a|bc)?){1,8}") {
            let mut segments: Vec<&str> = Vec::new();
            let all: Vec<&str> = path[1..].split('/').collect();
            let mut above = false;
            for (at, segment) in all.iter().enumerate() {
                let last = at + 1 == all.len();
                match *segment {
                    "." => {}
                    ".." => above |= segments.pop().is_none(),
                    name => segments.push(name),
                }
                if last && matches!(*segment, "." | "..") {
                    segments.push("");
                }
            }
            let wanted = if above { Err("target_above_root") } else { Ok(format!("/{}", segments.join("/"))) };
            prop_assert_eq!(normal(&path, RESOLVE), wanted);
        }
    }
}
