//! Heads of HTTP/1 messages, read strictly and kept as they were sent.

/// Fields in their order; names in lower case.
pub type Fields = Vec<(String, String)>;

/// The head of a request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub line: String,
    /// Of a response; 0 for a request.
    pub status: u16,
    /// Of a request; empty for a response.
    pub method: String,
    /// Of a request: what stands between method and version; empty for a response.
    pub target: String,
    /// Whether it is HTTP/1.0.
    pub old: bool,
    /// In their order.
    pub fields: Fields,
}

impl Head {
    /// The first complete head in `input`, taken out of it; nothing when it is not complete yet.
    ///
    /// # Errors
    /// Bytes that are not the head of a message.
    pub fn take(input: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        let head = Self::parse(&input[..end]);
        input.drain(..end + 4);
        head.map(Some)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let first = bytes.windows(2).position(|w| w == b"\r\n").unwrap_or(bytes.len());
        let line = latin1(&bytes[..first]);
        let mut head = Self::first_line(&line).ok_or_else(|| format!("first line {line:?}"))?;
        head.line = line;
        if first < bytes.len() {
            head.fields = parse_fields(&bytes[first + 2..])?;
        }
        Ok(head)
    }

    fn first_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ' ');
        let (one, two, three) = (parts.next()?, parts.next()?, parts.next());
        if let Some(old) = version(one) {
            return Some(Self { status: two.parse().ok()?, old, ..Self::default() });
        }
        let old = version(three?)?;
        let plain = is_token(one) && !two.is_empty() && two.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self { method: one.to_owned(), target: two.to_owned(), old, ..Self::default() })
    }

    /// The first value of this field (lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every value of this field (lower case).
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the sender closes the connection behind this message.
    #[must_use]
    pub fn closes(&self) -> bool {
        let named = |token: &str| {
            self.all("connection").iter().flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
        };
        named("close") || (self.old && !named("keep-alive"))
    }

    /// The path of a request, without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn version(text: &str) -> Option<bool> {
    match text {
        "HTTP/1.1" => Some(false),
        "HTTP/1.0" => Some(true),
        _ => None,
    }
}

/// Lines of `name: value`, each but the last with its `CRLF`.
///
/// # Errors
/// A line that is no field as RFC 9112 writes one.
pub(crate) fn parse_fields(bytes: &[u8]) -> Result<Fields, String> {
    let all = latin1(bytes);
    all.split("\r\n").filter(|line| !line.is_empty()).map(parse_field).collect()
}

fn parse_field(line: &str) -> Result<(String, String), String> {
    let refusal = || format!("field line {line:?}");
    let (name, value) = line.split_once(':').ok_or_else(refusal)?;
    if !is_token(name) || value.bytes().any(|b| b < b' ' && b != b'\t') {
        return Err(refusal());
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}

fn latin1(bytes: &[u8]) -> String {
    // Latin-1, so that every byte a peer sends can be looked at.
    bytes.iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_and_the_rest_stays() {
        let mut input = b"HTTP/1.1 200 OK\r\nX-Origin: a\r\nConnection: x, Close\r\n\r\nbody".to_vec();
        let head = Head::take(&mut input).unwrap().unwrap();
        assert_eq!((head.status, head.field("x-origin"), head.closes()), (200, Some("a"), true));
        assert_eq!(input, b"body");
        assert_eq!(Head::take(&mut input), Ok(None));
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        for bad in ["GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET / HTTP/2\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n"] {
            assert!(Head::take(&mut bad.as_bytes().to_vec()).is_err(), "{bad:?}");
        }
    }
}
