//! Decides what an endpoint's own word in the answer to a probe means.
//!
//! Three words, each of which says everything: `NN%` is that part of its weight, `drain` nothing new, `ready` its whole
//! weight. HAProxy's agents have more (`up`, `down`, `maint`, `maxconn`), and let them be combined, so that what an endpoint
//! gets hangs on all words it ever said; here it hangs on the last one. Up and down is what probes find out, and no
//! word overrules them.
//!
//! Invariants: a part is never above the whole; what is no word changes nothing.

use crate::endpoint::Advice;

/// What an endpoint says of itself. It holds until it says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// That part of its weight, in thousandths, at most 1000.
    Weight(u16),
    /// Nothing new.
    Drain,
    /// Its whole weight.
    Ready,
}

impl Word {
    /// The word in a field or a line: `NN%`, `drain` or `ready`, in either case, with white space around it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        if text.eq_ignore_ascii_case(b"drain") {
            Some(Self::Drain)
        } else if text.eq_ignore_ascii_case(b"ready") {
            Some(Self::Ready)
        } else {
            percent(text.strip_suffix(b"%")?).map(|percent| Self::Weight(percent * 10))
        }
    }

    /// What it means for the endpoint.
    #[must_use]
    pub fn advice(self) -> Advice {
        match self {
            Self::Weight(level) => Advice { level, draining: false },
            Self::Drain => Advice { draining: true, ..Advice::default() },
            Self::Ready => Advice::default(),
        }
    }
}

/// One to three digits, at most 100.
fn percent(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (number <= 100).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_nothing_else_is() {
        for (text, word) in [
            ("75%", Word::Weight(750)),
            ("0%", Word::Weight(0)),
            ("100%", Word::Weight(1000)),
            (" 007%\r", Word::Weight(70)),
            ("drain", Word::Drain),
            ("Ready\n", Word::Ready),
        ] {
            assert_eq!(Word::parse(text.as_bytes()), Some(word), "{text:?}");
        }
        for text in ["", "%", "75", "-5%", "101%", "0100%", "7.5%", "up", "drain 5%", "drainage", "\u{bd}%"] {
            assert_eq!(Word::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn each_word_says_everything() {
        assert_eq!(Word::Weight(250).advice(), Advice { level: 250, draining: false });
        assert!(Word::Drain.advice().draining);
        assert_eq!(Word::Ready.advice(), Advice::default());
    }
}
