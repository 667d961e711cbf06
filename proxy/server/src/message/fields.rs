//! Fields in the order and the case in which they came.

use bytes::BufMut;

use super::{Known, Refused};

/// Where one field stands in the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// First byte of the name.
    pub(crate) name: u32,
    /// Behind the last byte of the name.
    pub(crate) name_end: u32,
    /// First byte of the value.
    pub(crate) value: u32,
    /// Behind the last byte of the value, without white space at the end.
    pub(crate) value_end: u32,
    /// What the name is.
    pub(crate) known: Known,
    /// Whether the buffer holds exactly `name: value CRLF`, so that it can be sent as it stands.
    pub(crate) plain: bool,
}

/// Fields in the order and the case in which they came: one buffer, and for each field four offsets into it.
///
/// Finding by [`Known`] costs one comparison when the field is absent and a walk when it is present; finding by name is
/// a walk. Removing marks; nothing moves. `clear` keeps the capacity, so a warm value allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// The known names that are present, and those that are present more than once.
    present: u64,
    repeated: u64,
    live: usize,
}

impl Fields {
    /// No fields. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all fields and keeps the capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        self.present = 0;
        self.repeated = 0;
        self.live = 0;
    }

    /// How many bytes its text can take before it must grow.
    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many fields there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds a field at the end. The name must be a token and the value free of control bytes but HTAB: what comes from
    /// outside was checked by the codec that read it, and what we write ourselves holds none.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        self.append(Known::of(name), name, value.as_ref());
    }

    /// Adds a field at the end, its name in lower case. As [`Fields::push`], without recognising the name.
    pub fn push_known(&mut self, known: Known, value: impl AsRef<[u8]>) {
        debug_assert!(!known.as_str().is_empty(), "only a known name can be written");
        self.append(known, known.as_str().as_bytes(), value.as_ref());
    }

    /// Removes every field of this name and adds this one.
    pub fn set_known(&mut self, known: Known, value: impl AsRef<[u8]>) {
        self.remove(known);
        self.push_known(known, value);
    }

    /// Appends a field of text that nobody has looked at yet.
    ///
    /// # Errors
    /// When the name is no token, or the value holds a control byte: written to HTTP/1.1 it would break the head. When
    /// the name looks like one that frames a message to those who take `_` for `-`.
    pub fn push_checked(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if !is_token(name) {
            return Err(Refused::bad("field_name"));
        }
        if is_disguised(name) {
            return Err(Refused::bad("field_name_disguised"));
        }
        if !is_value(value) {
            return Err(Refused::bad("field_value"));
        }
        // HTTP/1.1 takes white space around a value for none, so what HTTP/2 lets through would be two values.
        self.push(name, value.trim_ascii());
        Ok(())
    }

    fn append(&mut self, known: Known, name: &[u8], value: &[u8]) {
        debug_assert!(is_token(name) && is_value(value), "a name or value that breaks the head");
        self.bytes.reserve(name.len() + value.len() + 4);
        let name_at = offset(self.bytes.len());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_at = offset(self.bytes.len());
        self.bytes.extend_from_slice(value);
        let value_end = offset(self.bytes.len());
        self.bytes.extend_from_slice(b"\r\n");
        let name_end = value_at - 2;
        self.note(Line { name: name_at, name_end, value: value_at, value_end, known, plain: true });
    }

    /// Notes a field whose bytes are given afterwards with [`Fields::adopt`]; its offsets are into those bytes.
    #[inline]
    pub(crate) fn note(&mut self, line: Line) {
        let bit = line.known.bit();
        self.repeated |= self.present & bit;
        self.present |= bit;
        self.live += 1;
        self.lines.push(line);
    }

    /// The bytes of the fields that were noted since `clear`.
    pub(crate) fn adopt(&mut self, block: &[u8]) {
        debug_assert!(self.bytes.is_empty(), "offsets are into one block");
        self.bytes.extend_from_slice(block);
    }

    /// Name, value and what the name is, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, lines: self.lines.iter() }
    }

    /// Whether there is such a field.
    #[must_use]
    pub const fn has(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// Whether there is more than one such field.
    #[must_use]
    pub const fn has_many(&self, known: Known) -> bool {
        self.repeated & known.bit() != 0
    }

    /// The value of the first such field.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        if !self.has(known) {
            return None;
        }
        self.all(known).next()
    }

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        let known = Known::of(name.as_bytes());
        if known != Known::Other {
            return self.get(known);
        }
        self.iter().find(|(n, _, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value, _)| value)
    }

    /// The values of all such fields, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.known == known).map(|line| value_of(&self.bytes, line))
    }

    /// How many such fields there are.
    #[must_use]
    pub fn count(&self, known: Known) -> usize {
        if !self.has(known) {
            return 0;
        }
        self.lines.iter().filter(|line| line.known == known).count()
    }

    /// Removes all such fields and says how many there were.
    pub fn remove(&mut self, known: Known) -> usize {
        if !self.has(known) {
            return 0;
        }
        self.remove_lines(|_, line| line.known == known)
    }

    /// Removes all fields of this name, in any case, and says how many there were.
    pub fn remove_named(&mut self, name: &[u8]) -> usize {
        let known = Known::of(name);
        if known != Known::Other {
            return self.remove(known);
        }
        self.remove_lines(|bytes, line| name_of(bytes, line).eq_ignore_ascii_case(name))
    }

    /// Removes the fields that do not pass and says how many there were.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8], Known) -> bool) -> usize {
        self.remove_lines(|bytes, line| !keep(name_of(bytes, line), value_of(bytes, line), line.known))
    }

    /// Marks the fields that the test names, and counts what is left anew.
    fn remove_lines(&mut self, mut test: impl FnMut(&[u8], &Line) -> bool) -> usize {
        let (mut present, mut repeated, mut live) = (0, 0, 0);
        for line in &mut self.lines {
            if line.known != Known::Removed && test(&self.bytes, line) {
                line.known = Known::Removed;
            }
            let bit = line.known.bit();
            repeated |= present & bit;
            present |= bit;
            live += usize::from(line.known != Known::Removed);
        }
        let removed = self.live - live;
        (self.present, self.repeated, self.live) = (present, repeated, live);
        removed
    }

    /// Writes the fields that pass, each as `name: value CRLF`. Neighbours that stand in this form are copied at once.
    pub(crate) fn write(&self, out: &mut impl BufMut, keep: impl Fn(Known) -> bool) {
        let (mut from, mut to) = (0, 0);
        for line in &self.lines {
            if line.known == Known::Removed || !keep(line.known) {
                continue;
            }
            let (start, end) = (line.name as usize, line.value_end as usize + 2);
            if line.plain && start == to {
                to = end;
                continue;
            }
            out.put_slice(&self.bytes[from..to]);
            (from, to) = (start, if line.plain { end } else { start });
            if !line.plain {
                self.write_apart(out, line);
                (from, to) = (0, 0);
            }
        }
        out.put_slice(&self.bytes[from..to]);
    }

    fn write_apart(&self, out: &mut impl BufMut, line: &Line) {
        out.put_slice(name_of(&self.bytes, line));
        out.put_slice(b": ");
        out.put_slice(value_of(&self.bytes, line));
        out.put_slice(b"\r\n");
    }
}

impl sluice_proxy_core::route::Fields for Fields {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.get_named(name)
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a [u8], &'a [u8], Known);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Name, value and what the name is, in order.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    lines: std::slice::Iter<'a, Line>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8], Known);
    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.find(|line| line.known != Known::Removed)?;
        Some((name_of(self.bytes, line), value_of(self.bytes, line), line.known))
    }
}

fn name_of<'a>(bytes: &'a [u8], line: &Line) -> &'a [u8] {
    &bytes[line.name as usize..line.name_end as usize]
}

fn value_of<'a>(bytes: &'a [u8], line: &Line) -> &'a [u8] {
    &bytes[line.value as usize..line.value_end as usize]
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("a head is limited far below 4 GiB")
}

/// Whether these bytes may stand as a field name or a method.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b))
}

/// Whether a name is one that frameworks behind us fold into one that frames a message.
pub(crate) fn is_disguised(name: &[u8]) -> bool {
    let folds = |to: &[u8]| name.iter().zip(to).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'));
    match name.len() {
        14 => name.contains(&b'_') && folds(b"content-length"),
        17 => name.contains(&b'_') && folds(b"transfer-encoding"),
        _ => false,
    }
}

/// Whether a name is one that frameworks behind us fold into one by which we say who the client is: CGI and its heirs (WSGI,
/// Rack, PHP) make `HTTP_X_REAL_IP` of `X-Real-IP` and of `X_Real_IP`, some also of `X.Real.IP`.
pub(crate) fn is_disguised_claim(name: &[u8]) -> bool {
    let folds = |to: &Known| {
        let to = to.as_str().as_bytes();
        name.len() == to.len() && name.iter().zip(to).all(|(a, b)| fold(*a).eq_ignore_ascii_case(b))
    };
    name.iter().any(|byte| *byte != fold(*byte)) && CLAIMS.iter().any(folds)
}

/// What we tell about the client, or about the request, that its sender must not.
const CLAIMS: &[Known] = &[
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedProto,
    Known::XForwardedPort,
    Known::XForwardedClientCert,
    Known::ClientCert,
    Known::ClientCertChain,
    Known::XRealIp,
    Known::XRequestId,
];

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

/// Whether these bytes may stand as a field value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let mut fields = Fields::new();
        fields.push("Host", "a");
        fields.push("X-One", "1");
        fields.push("cookie", "b=1");
        fields.push("x-one", "2");
        fields.push("Cookie", "c=2");
        fields
    }

    fn written(fields: &Fields, keep: impl Fn(Known) -> bool) -> String {
        let mut out = Vec::new();
        fields.write(&mut out, keep);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn order_and_case_stay() {
        let fields = sample();
        assert_eq!(written(&fields, |_| true), "Host: a\r\nX-One: 1\r\ncookie: b=1\r\nx-one: 2\r\nCookie: c=2\r\n");
        assert_eq!(written(&fields, |known| known != Known::Cookie), "Host: a\r\nX-One: 1\r\nx-one: 2\r\n");
        let names: Vec<_> = fields.iter().map(|(name, _, known)| (name.to_vec(), known)).collect();
        assert_eq!(names[2], (b"cookie".to_vec(), Known::Cookie));
        assert_eq!(names.len(), fields.len());
    }

    #[test]
    fn fields_are_found_by_what_they_are_and_by_name() {
        let fields = sample();
        assert_eq!(fields.get(Known::Cookie), Some(&b"b=1"[..]));
        assert_eq!(fields.all(Known::Cookie).collect::<Vec<_>>(), [b"b=1", b"c=2"]);
        assert_eq!((fields.count(Known::Cookie), fields.count(Known::Te)), (2, 0));
        assert_eq!(fields.get_named("X-ONE"), Some(&b"1"[..]));
        assert_eq!(fields.get_named("HOST"), Some(&b"a"[..]));
        assert_eq!(fields.get_named("x-two"), None);
        assert!(fields.has_many(Known::Cookie) && !fields.has_many(Known::Host));
    }

    #[test]
    fn what_is_removed_is_gone_everywhere() {
        let mut fields = sample();
        assert_eq!(fields.remove(Known::Cookie), 2);
        assert_eq!(fields.remove(Known::Cookie), 0);
        assert_eq!(fields.remove_named(b"X-one"), 2);
        assert_eq!((fields.len(), fields.has(Known::Cookie), fields.get(Known::Cookie)), (1, false, None));
        assert_eq!(written(&fields, |_| true), "Host: a\r\n");
        fields.push_known(Known::Cookie, "d");
        assert!(fields.has(Known::Cookie) && !fields.has_many(Known::Cookie));
        fields.set_known(Known::Host, "b");
        assert_eq!(written(&fields, |_| true), "cookie: d\r\nhost: b\r\n");
    }

    #[test]
    fn a_cleared_value_keeps_its_buffers() {
        let mut fields = sample();
        let capacity = fields.bytes.capacity();
        fields.clear();
        assert!(fields.is_empty() && fields.iter().next().is_none() && !fields.has(Known::Host));
        assert_eq!(fields.bytes.capacity(), capacity);
    }
}
