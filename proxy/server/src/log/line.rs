//! One request as one line of JSON. Appended byte by byte: a serialiser would visit every field twice.

use std::time::{Duration, SystemTime};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// The client's fault, or mended by another attempt.
    Warn,
    /// A failed request.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What went wrong with a request.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// A stable name in snake case.
    pub name: &'a str,
    /// In words.
    pub message: &'a str,
}

/// The TLS session that a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// `1.2` or `1.3`.
    pub version: &'a str,
    /// As the registry of suites names it.
    pub cipher: &'a str,
    /// That the client asked for.
    pub server_name: Option<&'a str>,
    /// Whether it goes on with an earlier one.
    pub resumed: bool,
}

/// What is told of one request. Bytes may be anything: those that are not UTF-8 are read as Latin-1. Absent fields are
/// left out of the line.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When the request ended.
    pub timestamp: SystemTime,
    /// How much it matters.
    pub level: Level,
    /// In a few words.
    pub message: &'a str,
    /// Made by us or taken over.
    pub request_id: &'a [u8],
    /// The client's, without the port.
    pub ip_address: &'a str,
    /// As sent; empty if it was not understood.
    pub method: &'a [u8],
    /// As sent; empty if it was not understood, or names none.
    pub host: &'a [u8],
    /// Without the query; empty if it was not understood.
    pub path: &'a [u8],
    /// Without the question mark.
    pub query: Option<&'a [u8]>,
    /// The client's, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// Absent where the client speaks in the clear.
    pub tls: Option<Tls<'a>>,
    /// Of the head sent to the client.
    pub status: Option<u16>,
    /// Of a call of gRPC.
    pub grpc_status: Option<&'a str>,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the answer's body.
    pub bytes_out: u64,
    /// From the request's head to its end. Told in milliseconds, to the microsecond.
    pub duration: Duration,
    /// The part of it that was spent waiting for the origin's head.
    pub upstream: Option<Duration>,
    /// The name of the route.
    pub route: Option<&'a str>,
    /// That the route names.
    pub service: Option<&'a str>,
    /// That answered, or was tried last.
    pub version: Option<&'a str>,
    /// Where it was placed.
    pub region: Option<&'a str>,
    /// The address that answered, or was tried last.
    pub endpoint: Option<&'a str>,
    /// Why that region, as a stable name.
    pub placement: Option<&'a str>,
    /// Why that version, as a stable name.
    pub split: Option<&'a str>,
    /// Endpoints tried.
    pub attempts: u32,
    /// Whose doing the end was, as a stable name.
    pub outcome: &'a str,
    /// Absent when all went well.
    pub fault: Option<Fault<'a>>,
    /// How the first attempt failed, if another followed; a stable name.
    pub first_error: Option<&'a str>,
    /// As sent.
    pub user_agent: Option<&'a [u8]>,
    /// The number of the revision that decided.
    pub revision: u64,
}

/// Appends the line, with its line feed.
pub(super) fn append(out: &mut Vec<u8>, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    timestamp(out, entry.timestamp);
    out.push(b'"');
    text(out, "level", entry.level.as_str().as_bytes());
    text(out, "message", entry.message.as_bytes());
    request(out, entry);
    answer(out, entry);
    decision(out, entry);
    fault(out, entry.fault);
    out.extend_from_slice(b"}\n");
}

fn request(out: &mut Vec<u8>, entry: &Entry<'_>) {
    text(out, "request_id", entry.request_id);
    text(out, "ip_address", entry.ip_address.as_bytes());
    optional(out, "method", known(entry.method));
    optional(out, "host", known(entry.host));
    optional(out, "path", known(entry.path));
    optional(out, "query", entry.query);
    text(out, "protocol", entry.protocol.as_bytes());
    optional(out, "user_agent", entry.user_agent);
    if let Some(tls) = &entry.tls {
        session(out, tls);
    }
}

fn session(out: &mut Vec<u8>, tls: &Tls<'_>) {
    name(out, "tls");
    out.extend_from_slice(b"{\"version\":\"");
    escaped(out, tls.version.as_bytes());
    out.push(b'"');
    text(out, "cipher", tls.cipher.as_bytes());
    optional(out, "server_name", tls.server_name.map(str::as_bytes));
    name(out, "resumed");
    out.extend_from_slice(if tls.resumed { b"true" } else { b"false" });
    out.push(b'}');
}

/// Of a request that was not understood nothing is known.
fn known(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn answer(out: &mut Vec<u8>, entry: &Entry<'_>) {
    if let Some(status) = entry.status {
        number(out, "status", status.into());
    }
    optional(out, "grpc_status", entry.grpc_status.map(str::as_bytes));
    number(out, "bytes_in", entry.bytes_in);
    number(out, "bytes_out", entry.bytes_out);
    milliseconds(out, "duration_ms", entry.duration);
    if let Some(upstream) = entry.upstream {
        milliseconds(out, "upstream_ms", upstream);
    }
}

fn decision(out: &mut Vec<u8>, entry: &Entry<'_>) {
    optional(out, "route", entry.route.map(str::as_bytes));
    optional(out, "service", entry.service.map(str::as_bytes));
    optional(out, "version", entry.version.map(str::as_bytes));
    optional(out, "region", entry.region.map(str::as_bytes));
    optional(out, "endpoint", entry.endpoint.map(str::as_bytes));
    optional(out, "placement", entry.placement.map(str::as_bytes));
    optional(out, "split", entry.split.map(str::as_bytes));
    number(out, "attempts", entry.attempts.into());
    optional(out, "first_error", entry.first_error.map(str::as_bytes));
    text(out, "outcome", entry.outcome.as_bytes());
    number(out, "revision", entry.revision);
}

fn fault(out: &mut Vec<u8>, fault: Option<Fault<'_>>) {
    let Some(fault) = fault else { return };
    out.extend_from_slice(b",\"error\":{\"name\":\"");
    escaped(out, fault.name.as_bytes());
    out.push(b'"');
    text(out, "message", fault.message.as_bytes());
    out.push(b'}');
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, field: &str, value: &[u8]) {
    name(out, field);
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, field: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        text(out, field, value);
    }
}

fn number(out: &mut Vec<u8>, field: &str, value: u64) {
    name(out, field);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn milliseconds(out: &mut Vec<u8>, field: &str, value: Duration) {
    let micros = value.as_micros();
    name(out, field);
    out.extend_from_slice(itoa::Buffer::new().format(micros / 1000).as_bytes());
    out.push(b'.');
    digits(out, (micros % 1000) as u32, 3);
}

/// The last `count` digits of a number, with leading zeros.
fn digits(out: &mut Vec<u8>, value: u32, count: u32) {
    for place in (0..count).rev() {
        out.push(b'0' + (value / 10_u32.pow(place) % 10) as u8);
    }
}

/// The content of a JSON string. Everything that is not printable ASCII but is UTF-8 stays, except controls: a log is
/// read in terminals, which obey them.
fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(|character| escaped_char(out, character));
        chunk.invalid().iter().for_each(|byte| unicode(out, (*byte).into()));
    }
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn escaped_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        control if control.is_control() => unicode(out, control.into()),
        // Line ends to some readers of lines.
        '\u{2028}' | '\u{2029}' => unicode(out, character.into()),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// `code` is below 0x10000.
fn unicode(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(code >> shift & 15) as usize]);
    }
}

/// ISO 8601 in UTC with microseconds. Times before 1970 are told as 1970; a clock that says so is not set.
fn timestamp(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let second = (seconds % 86_400) as u32;
    digits(out, year, 4);
    for (mark, value) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(mark);
        digits(out, value, 2);
    }
    out.push(b'.');
    digits(out, since.subsec_micros(), 6);
    out.push(b'Z');
}

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that the leap day is the last of its
/// year and months have lengths by one rule (Hinnant, "chrono-compatible low-level date algorithms").
const fn date(days: u64) -> (u32, u32, u32) {
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE: u64 = 719_468;
    /// In 400 years.
    const ERA: u64 = 146_097;
    let (era, day) = ((days + BEFORE) / ERA, (days + BEFORE) % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((year + era * 400 + carry) as u32, month as u32, of_month as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_007),
            level: Level::Info,
            message: "answered",
            request_id: b"0192-a",
            ip_address: "192.0.2.7",
            method: b"GET",
            host: b"shop.example.com",
            path: b"/api",
            query: None,
            protocol: "HTTP/1.1",
            tls: None,
            status: Some(200),
            grpc_status: None,
            bytes_in: 0,
            bytes_out: 128,
            duration: Duration::from_nanos(12_045_999),
            upstream: Some(Duration::from_millis(11)),
            route: Some("shop.example.com/api"),
            service: Some("shop"),
            version: Some("v1"),
            region: Some("us-east-1"),
            endpoint: Some("10.0.1.10:8080"),
            attempts: 1,
            outcome: "success",
            fault: None,
            first_error: None,
            placement: None,
            split: None,
            user_agent: None,
            revision: 7,
        }
    }

    fn line(entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        append(&mut out, entry);
        String::from_utf8(out).unwrap()
    }

    fn parsed(entry: &Entry<'_>) -> Value {
        let line = line(entry);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_line_reads_like_this() {
        assert_eq!(
            line(&entry()),
            concat!(
                r#"{"timestamp":"2024-02-29T12:34:56.000007Z","level":"info","message":"answered","request_id":"0192-a","#,
                r#""ip_address":"192.0.2.7","method":"GET","host":"shop.example.com","path":"/api","protocol":"HTTP/1.1","#,
                r#""status":200,"bytes_in":0,"bytes_out":128,"duration_ms":12.045,"upstream_ms":11.000,"#,
                r#""route":"shop.example.com/api","service":"shop","version":"v1","region":"us-east-1","#,
                r#""endpoint":"10.0.1.10:8080","attempts":1,"outcome":"success","revision":7}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_fault_is_told_with_its_name() {
        let fault = Fault { name: "connect_refused", message: "nobody listens at \"10.0.1.10\"" };
        let value = parsed(&Entry { fault: Some(fault), level: Level::Error, status: None, ..entry() });
        assert_eq!(value["error"], json!({"name": "connect_refused", "message": "nobody listens at \"10.0.1.10\""}));
        assert_eq!(value["level"], "error");
        assert_eq!(value.get("status"), None);
    }

    #[test]
    fn a_session_is_told_where_there_is_one() {
        let tls = Tls { version: "1.3", cipher: "TLS_AES_128_GCM_SHA256", server_name: Some("a.test"), resumed: true };
        let value = parsed(&Entry { tls: Some(tls), ..entry() });
        let told = json!({"version": "1.3", "cipher": tls.cipher, "server_name": "a.test", "resumed": true});
        assert_eq!(value["tls"], told);
        assert_eq!(parsed(&entry()).get("tls"), None);
    }

    #[test]
    fn hostile_bytes_stay_inside_their_string() {
        let value = parsed(&Entry { path: b"/\"},{\"\\\n\r\0\x1b[31m\x7f", ..entry() });
        assert_eq!(value["path"], "/\"},{\"\\\n\r\0\u{1b}[31m\u{7f}");
        let line = line(&Entry { user_agent: Some(b"a\x1b\xc2\x9b\xe2\x80\xa8b\x7f"), ..entry() });
        assert!(line.contains(r#""user_agent":"a\u001b\u009b\u2028b\u007f""#), "{line}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_read_as_latin1() {
        let value = parsed(&Entry { user_agent: Some(b"caf\xe9 \xff \xe2\x82"), ..entry() });
        assert_eq!(value["user_agent"], "café ÿ \u{e2}\u{82}");
        assert_eq!(
            parsed(&Entry { user_agent: Some("日本 café 🦀".as_bytes()), ..entry() })["user_agent"],
            "日本 café 🦀"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (10_956, (1999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_781, (2026, 11, 24)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(day), expected);
        }
    }

    #[test]
    fn every_day_is_the_day_after_the_last_one() {
        let length = |year: u32, month| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut today = date(0);
        for day in 1..400 * 366 {
            let (year, month, of_month) = today;
            today = match (month, of_month) {
                (12, 31) => (year + 1, 1, 1),
                (_, last) if last == length(year, month) => (year, month + 1, 1),
                _ => (year, month, of_month + 1),
            };
            assert_eq!(date(day), today);
        }
    }

    proptest! {
        #[test]
        fn every_line_is_json_and_loses_nothing(
            path in prop::collection::vec(any::<u8>(), 0..64),
            agent in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
            text in ".*",
            micros in any::<u64>(),
            bytes in any::<u64>(),
            seconds in 0u64..200_000_000_000,
        ) {
            let value = parsed(&Entry {
                timestamp: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                path: &path,
                user_agent: agent.as_deref(),
                message: &text,
                query: Some(text.as_bytes()),
                route: Some(&text),
                fault: Some(Fault { name: "f", message: &text }),
                duration: Duration::from_micros(micros),
                bytes_out: bytes,
                ..entry()
            });
            prop_assert_eq!(value["message"].as_str(), Some(&*text));
            prop_assert_eq!(value["query"].as_str(), Some(&*text));
            prop_assert_eq!(value["route"].as_str(), Some(&*text));
            prop_assert_eq!(value["error"]["message"].as_str(), Some(&*text));
            prop_assert_eq!(value["bytes_out"].as_u64(), Some(bytes));
            let expected: String = path.utf8_chunks().flat_map(|chunk| {
                chunk.valid().chars().chain(chunk.invalid().iter().map(|byte| char::from(*byte)))
            }).collect();
            prop_assert_eq!(value["path"].as_str(), (!path.is_empty()).then_some(&*expected));
            prop_assert_eq!(value.get("user_agent").is_some(), agent.is_some());
        }
    }
}
