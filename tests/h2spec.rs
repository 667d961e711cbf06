//! What h2spec asks of a server, as raw frames: the cases of its list (<https://github.com/summerwind/h2spec>, 2.6), by
//! their numbers, written anew. h2spec takes the end of the connection for any error of the connection; here the code must
//! come, too, and be the right one. Where it is another, the case stands in [`DEVIATIONS`].

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_harness::h2::raw::{ACK, Client, END_HEADERS, END_STREAM, Frame, PADDED, PRIORITISED, block, frame, kind};
use sluice_harness::sluice::setup;
use sluice_harness::{Document, Origin, free_address};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const CANCEL: u32 = 8;
const COMPRESSION: u32 = 9;

/// Cases with another end than the list asks for, and what it is. All of these end the connection, so h2spec passes them
/// but for the first; the `h2` crate tells PROTOCOL_ERROR where it should tell more.
const DEVIATIONS: &[(&str, &str)] = &[
    // A port that speaks both versions reads what is not the preface as HTTP/1.1: 400, and the connection ends. Over TLS
    // with ALPN it is HTTP/2, and only ends.
    ("http2/3.5/2", "closed"),
    ("http2/4.3/1", "GOAWAY 1"),
    ("http2/5.1/5", "GOAWAY 1"),
    ("http2/5.1/6", "GOAWAY 1"),
    ("http2/5.1/9", "GOAWAY 1"),
    ("http2/5.1/12", "GOAWAY 1"),
    ("http2/6.1/2", "GOAWAY 1"),
    ("http2/6.3/2", "GOAWAY 1"),
    ("http2/6.4/3", "GOAWAY 1"),
    ("http2/6.5/1", "GOAWAY 1"),
    ("http2/6.5.2/2", "GOAWAY 1"),
    ("http2/6.7/4", "GOAWAY 1"),
    ("http2/6.9/3", "GOAWAY 1"),
    ("http2/6.9.2/3", "GOAWAY 1"),
    ("hpack/2.3.3/1", "GOAWAY 1"),
    ("hpack/2.3.3/2", "GOAWAY 1"),
    ("hpack/4.2/1", "GOAWAY 1"),
    ("hpack/5.2/1", "GOAWAY 1"),
    ("hpack/5.2/2", "GOAWAY 1"),
    ("hpack/5.2/3", "GOAWAY 1"),
    ("hpack/6.1/1", "GOAWAY 1"),
    ("hpack/6.3/1", "GOAWAY 1"),
];

use Step::Await;
use Want::{Answer, Connection, Data, End, Pong, PongOrEnd, Settings, SettingsAck, Stream};

/// One step of a case.
enum Step {
    Send(Vec<u8>),
    Await(Want),
}

/// What must come. Frames before it are passed over, but for errors.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// The server's own settings, as its first frame.
    Settings,
    SettingsAck,
    Pong([u8; 8]),
    /// The answer to a PING, or the end of the connection without an error.
    PongOrEnd([u8; 8]),
    /// A head with status 200 on the first stream.
    Answer,
    /// A DATA frame of this length on the first stream, or any.
    Data(Option<usize>),
    /// The end of the first stream.
    End,
    /// RST_STREAM or GOAWAY with one of these codes.
    Stream(&'static [u32]),
    /// GOAWAY with one of these codes.
    Connection(&'static [u32]),
}

impl Want {
    fn is(self, frame: &Frame) -> bool {
        let first = frame.stream == 1;
        match self {
            Self::Settings => frame.kind == kind::SETTINGS && frame.flags & ACK == 0,
            Self::SettingsAck => frame.kind == kind::SETTINGS && frame.flags & ACK != 0,
            Self::Pong(data) | Self::PongOrEnd(data) => {
                frame.kind == kind::PING && frame.flags & ACK != 0 && frame.payload == data
            }
            Self::Answer => first && frame.kind == kind::HEADERS && frame.status() == 200,
            Self::Data(length) => {
                first && frame.kind == kind::DATA && length.is_none_or(|length| frame.payload.len() == length)
            }
            Self::End => first && matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & END_STREAM != 0,
            Self::Stream(codes) => frame.code().is_some_and(|code| codes.contains(&code)),
            Self::Connection(codes) => frame.kind == kind::GOAWAY && codes.contains(&frame.code().unwrap_or(0)),
        }
    }
}

/// What came instead; nothing when what was wanted did.
fn wait(client: &mut Client, want: Want) -> Option<String> {
    loop {
        let Some(frame) = client.frame() else {
            return (!matches!(want, PongOrEnd(_))).then(|| "closed".to_owned());
        };
        if want.is(&frame) {
            return None;
        }
        match frame.kind {
            kind::GOAWAY => return Some(format!("GOAWAY {}", frame.code().unwrap_or(0))),
            // Of a stream that was answered early.
            kind::RST_STREAM if frame.code() != Some(0) => {
                return Some(format!("RST_STREAM {}", frame.code().unwrap_or(0)));
            }
            kind::HEADERS if matches!(want, Answer) => return Some(format!("status {}", frame.status())),
            kind::DATA if matches!(want, Data(Some(_))) => return Some(format!("DATA {}", frame.payload.len())),
            _ if matches!(want, Settings) => return Some(format!("a frame of type {}", frame.kind)),
            _ => {}
        }
    }
}

fn run(web: SocketAddr, id: &str, steps: Vec<Step>) -> Option<String> {
    let bare = matches!(id, "http2/3.5/1" | "http2/3.5/2" | "generic/1/1");
    let mut client = if bare { Client::open(web) } else { Client::connect(web) };
    if !bare && let Some(other) = wait(&mut client, SettingsAck) {
        return Some(format!("no handshake but {other}"));
    }
    steps.into_iter().find_map(|step| match step {
        Step::Send(bytes) => {
            // Who has been told off may not take the rest.
            client.send_bytes(&bytes);
            None
        }
        Await(want) => wait(&mut client, want),
    })
}

#[test]
fn every_case_of_the_list_ends_as_it_asks() {
    let (web, origin) = (free_address(), Origin::start("a"));
    let sluice = setup(SLUICE).start(Document::simple(web, origin.address()));
    let cases = cases();
    println!("{} cases", cases.len());
    assert_eq!(cases.len(), 147);
    let mut other = BTreeMap::new();
    for (id, steps) in cases {
        if let Some(came) = run(web, id, steps) {
            other.insert(id, came);
        }
    }
    let known: BTreeMap<_, _> = DEVIATIONS.iter().map(|(id, came)| (*id, (*came).to_owned())).collect();
    assert_eq!(other, known, "what came instead, and what is known to");
    assert_eq!(origin.malformed(), Vec::<String>::new());
    assert!(!sluice.stderr().contains("panicked"), "{}", sluice.stderr());
}

type Case = (&'static str, Vec<Step>);

/// Bytes and then one awaited end: most cases.
fn case(id: &'static str, sent: Vec<Vec<u8>>, want: Want) -> Case {
    (id, vec![Step::Send(sent.concat()), Await(want)])
}

fn steps(id: &'static str, steps: Vec<Step>) -> Case {
    (id, steps)
}

fn cases() -> Vec<Case> {
    [starting(), format(), states(), data_and_heads(), settings(), windows(), messages(), hpack(), generic()]
        .into_iter()
        .flatten()
        .collect()
}

// What is sent.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MARK: [u8; 8] = *b"sluice\0\0";

type Field<'a> = (&'a str, &'a [u8]);

const METHOD: Field<'static> = (":method", b"GET");
const SCHEME: Field<'static> = (":scheme", b"http");
const AUTHORITY: Field<'static> = (":authority", b"t");
const PATH: Field<'static> = (":path", b"/bytes/10");
const POST: Field<'static> = (":method", b"POST");

fn get(more: &[Field<'_>]) -> Vec<u8> {
    block(&[&[METHOD, SCHEME, PATH, AUTHORITY], more].concat())
}

fn post(more: &[Field<'_>]) -> Vec<u8> {
    block(&[&[POST, SCHEME, PATH, AUTHORITY], more].concat())
}

/// A field of some size.
fn dummy(size: usize) -> Vec<u8> {
    block(&[("x-dummy", &vec![b'x'; size])])
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

const WHOLE: u8 = END_HEADERS | END_STREAM;

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, bytes)
}

fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    frame(kind::PRIORITY, 0, stream, &[&on.to_be_bytes()[..], &[weight]].concat())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn ping(data: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, 0, 0, &data)
}

const PUSH: u16 = 2;
const WINDOW: u16 = 4;
const FRAME: u16 = 5;

fn send(bytes: Vec<Vec<u8>>) -> Step {
    Step::Send(bytes.concat())
}

fn starting() -> Vec<Case> {
    let hello = || vec![PREFACE.to_vec(), setting(WINDOW, 65_535)];
    vec![
        case("http2/3.5/1", hello(), Settings),
        case("http2/3.5/2", vec![b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()], Connection(&[PROTOCOL])),
        case("generic/1/1", hello(), Settings),
    ]
}

fn format() -> Vec<Case> {
    let unknown = || frame(22, 0, 0, &[0; 8]);
    let part = |block: &[u8]| headers(1, 0, block);
    vec![
        case("http2/4.1/1", vec![unknown(), ping(MARK)], Pong(MARK)),
        case("http2/4.1/2", vec![frame(kind::PING, 0x16, 0, &MARK)], Pong(MARK)),
        case("http2/4.1/3", vec![frame(kind::PING, 0x16, 1 << 31, &MARK)], Pong(MARK)),
        case("http2/4.2/1", vec![headers(1, END_HEADERS, &post(&[])), data(1, END_STREAM, &[b'x'; 16_384])], Answer),
        case(
            "http2/4.2/2",
            vec![headers(1, END_HEADERS, &post(&[])), data(1, END_STREAM, &[b'x'; 16_385])],
            Stream(&[FRAME_SIZE]),
        ),
        case(
            "http2/4.2/3",
            vec![headers(1, WHOLE, &[get(&[]), dummy(4_000).repeat(5)].concat())],
            Connection(&[FRAME_SIZE]),
        ),
        case("http2/4.3/1", vec![headers(1, WHOLE, &[0x40])], Connection(&[COMPRESSION])),
        case(
            "http2/4.3/2",
            vec![part(&get(&[])), priority(1, 0, 255), continuation(1, END_HEADERS, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
        case(
            "http2/4.3/3",
            vec![part(&get(&[])), headers(3, WHOLE, &get(&[])), continuation(1, END_HEADERS, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
        case("http2/5.5/1", vec![unknown(), ping(MARK)], Pong(MARK)),
        case("http2/5.5/2", vec![headers(1, END_STREAM, &get(&[])), unknown()], Connection(&[PROTOCOL])),
    ]
}

fn states() -> Vec<Case> {
    let whole = || headers(1, WHOLE, &get(&[]));
    let open = || headers(1, END_HEADERS, &get(&[]));
    let ended =
        |id, after: Vec<u8>, want| steps(id, vec![send(vec![whole()]), Await(End), send(vec![after]), Await(want)]);
    let many = (0..=128).map(|at| headers(2 * at + 1, WHOLE, &get(&[]))).collect::<Vec<_>>().concat();
    vec![
        case("http2/5.1/1", vec![data(1, END_STREAM, b"test")], Stream(&[PROTOCOL, STREAM_CLOSED])),
        case("http2/5.1/2", vec![reset(1, CANCEL)], Connection(&[PROTOCOL])),
        case("http2/5.1/3", vec![window(1, 100)], Connection(&[PROTOCOL])),
        case("http2/5.1/4", vec![continuation(1, END_HEADERS, &get(&[]))], Connection(&[PROTOCOL])),
        case("http2/5.1/5", vec![whole(), data(1, END_STREAM, b"test")], Stream(&[STREAM_CLOSED])),
        case("http2/5.1/6", vec![whole(), whole()], Stream(&[STREAM_CLOSED])),
        case("http2/5.1/7", vec![whole(), continuation(1, END_HEADERS, &get(&[]))], Stream(&[STREAM_CLOSED, PROTOCOL])),
        case("http2/5.1/8", vec![open(), reset(1, CANCEL), data(1, END_STREAM, b"test")], Stream(&[STREAM_CLOSED])),
        case("http2/5.1/9", vec![open(), reset(1, CANCEL), whole()], Stream(&[STREAM_CLOSED])),
        case(
            "http2/5.1/10",
            vec![open(), reset(1, CANCEL), continuation(1, END_HEADERS, &dummy(9))],
            Stream(&[STREAM_CLOSED, PROTOCOL]),
        ),
        ended("http2/5.1/11", data(1, END_STREAM, b"test"), Stream(&[STREAM_CLOSED])),
        ended("http2/5.1/12", whole(), Connection(&[STREAM_CLOSED])),
        ended("http2/5.1/13", continuation(1, END_HEADERS, &dummy(9)), Connection(&[STREAM_CLOSED, PROTOCOL])),
        case("http2/5.1.1/1", vec![headers(2, WHOLE, &get(&[]))], Connection(&[PROTOCOL])),
        case(
            "http2/5.1.1/2",
            vec![headers(5, WHOLE, &get(&[])), headers(3, WHOLE, &get(&[]))],
            Connection(&[PROTOCOL]),
        ),
        case("http2/5.1.2/1", vec![setting(WINDOW, 0), many], Stream(&[PROTOCOL, REFUSED])),
        case(
            "http2/5.3.1/1",
            vec![headers(1, WHOLE | PRIORITISED, &[&[0, 0, 0, 1, 255][..], &get(&[])].concat())],
            Stream(&[PROTOCOL]),
        ),
        case("http2/5.3.1/2", vec![priority(1, 1, 255)], Stream(&[PROTOCOL])),
        case("http2/5.4.1/1", vec![frame(kind::PING, 0, 3, &MARK)], Connection(&[PROTOCOL])),
        case("http2/5.4.1/2", vec![frame(kind::PING, 0, 3, &MARK)], Connection(&[PROTOCOL])),
    ]
}

fn data_and_heads() -> Vec<Case> {
    let whole = || headers(1, WHOLE, &get(&[]));
    let part = |block: &[u8]| headers(1, 0, block);
    let padded = get(&[]);
    vec![
        case("http2/6.1/1", vec![data(0, END_STREAM, b"test")], Connection(&[PROTOCOL])),
        case(
            "http2/6.1/2",
            vec![headers(1, WHOLE, &post(&[])), data(1, END_STREAM, b"test")],
            Stream(&[STREAM_CLOSED]),
        ),
        case(
            "http2/6.1/3",
            vec![
                headers(1, END_HEADERS, &post(&[("content-length", b"4")])),
                data(1, END_STREAM | PADDED, b"\x06Test"),
            ],
            Connection(&[PROTOCOL]),
        ),
        case(
            "http2/6.2/1",
            vec![part(&get(&[])), priority(1, 0, 255), continuation(1, END_HEADERS, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
        case(
            "http2/6.2/2",
            vec![part(&get(&[])), headers(3, WHOLE, &get(&[])), continuation(1, END_HEADERS, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
        case("http2/6.2/3", vec![headers(0, WHOLE, &get(&[]))], Connection(&[PROTOCOL])),
        case(
            "http2/6.2/4",
            vec![headers(1, WHOLE | PADDED, &[&[padded.len() as u8 + 2], padded.as_slice()].concat())],
            Stream(&[PROTOCOL]),
        ),
        case("http2/6.3/1", vec![priority(0, 0, 255)], Connection(&[PROTOCOL])),
        case("http2/6.3/2", vec![whole(), frame(kind::PRIORITY, 0, 1, &[0x80, 0, 0, 1])], Stream(&[FRAME_SIZE])),
        case("http2/6.4/1", vec![reset(0, CANCEL)], Connection(&[PROTOCOL])),
        case("http2/6.4/2", vec![reset(1, CANCEL)], Connection(&[PROTOCOL])),
        case("http2/6.4/3", vec![whole(), frame(kind::RST_STREAM, 0, 1, &[0; 3])], Stream(&[FRAME_SIZE])),
        case(
            "http2/6.10/1",
            vec![
                headers(1, END_STREAM, &get(&[])),
                continuation(1, 0, &dummy(4_000)),
                continuation(1, END_HEADERS, &dummy(4_000)),
            ],
            Answer,
        ),
        case(
            "http2/6.10/2",
            vec![part(&post(&[])), continuation(1, 0, &dummy(9)), data(1, END_STREAM, b"test")],
            Connection(&[PROTOCOL]),
        ),
        case(
            "http2/6.10/3",
            vec![headers(1, END_STREAM, &get(&[])), continuation(0, END_HEADERS, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
        case("http2/6.10/4", vec![whole(), continuation(1, END_HEADERS, &dummy(9))], Connection(&[PROTOCOL])),
        case(
            "http2/6.10/5",
            vec![
                headers(1, END_STREAM, &get(&[])),
                continuation(1, END_HEADERS, &dummy(9)),
                continuation(1, END_HEADERS, &dummy(9)),
            ],
            Connection(&[PROTOCOL]),
        ),
        case(
            "http2/6.10/6",
            vec![part(&post(&[])), data(1, END_STREAM, b"test"), continuation(1, 0, &dummy(9))],
            Connection(&[PROTOCOL]),
        ),
    ]
}

fn settings() -> Vec<Case> {
    let two = [&[0, 4, 0, 0, 0, 100][..], &[0, 4, 0, 0, 0, 1]].concat();
    vec![
        case("http2/6.5/1", vec![frame(kind::SETTINGS, ACK, 0, &[0])], Connection(&[FRAME_SIZE])),
        case("http2/6.5/2", vec![frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])], Connection(&[PROTOCOL])),
        case("http2/6.5/3", vec![frame(kind::SETTINGS, 0, 0, &[0, 3, 0])], Stream(&[PROTOCOL, FRAME_SIZE])),
        case("http2/6.5.2/1", vec![setting(PUSH, 2)], Connection(&[PROTOCOL])),
        case("http2/6.5.2/2", vec![setting(WINDOW, 1 << 31)], Connection(&[FLOW_CONTROL])),
        case("http2/6.5.2/3", vec![setting(FRAME, 16_383)], Connection(&[PROTOCOL])),
        case("http2/6.5.2/4", vec![setting(FRAME, 1 << 24)], Connection(&[PROTOCOL])),
        case("http2/6.5.2/5", vec![setting(0xff, 1), ping(MARK)], Pong(MARK)),
        steps(
            "http2/6.5.3/1",
            vec![
                send(vec![frame(kind::SETTINGS, 0, 0, &two)]),
                Await(SettingsAck),
                send(vec![headers(1, WHOLE, &get(&[]))]),
                Await(Data(Some(1))),
            ],
        ),
        case("http2/6.5.3/2", vec![setting(PUSH, 0)], SettingsAck),
        case("http2/6.7/1", vec![ping(MARK)], Pong(MARK)),
        case("http2/6.7/2", vec![frame(kind::PING, ACK, 0, b"invalid\0"), ping(MARK)], Pong(MARK)),
        case("http2/6.7/3", vec![frame(kind::PING, 0, 1, &MARK)], Connection(&[PROTOCOL])),
        case("http2/6.7/4", vec![frame(kind::PING, 0, 0, &[0; 6])], Connection(&[FRAME_SIZE])),
        case("http2/6.8/1", vec![frame(kind::GOAWAY, 0, 1, &[0; 8])], Connection(&[PROTOCOL])),
        case("http2/7/1", vec![frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]), ping(MARK)], PongOrEnd(MARK)),
        case("http2/7/2", vec![headers(1, END_HEADERS, &post(&[])), reset(1, 0xff), ping(MARK)], PongOrEnd(MARK)),
    ]
}

fn windows() -> Vec<Case> {
    let whole = || headers(1, WHOLE, &get(&[]));
    let open = || headers(1, END_HEADERS, &get(&[]));
    vec![
        case("http2/6.9/1", vec![window(0, 0)], Connection(&[PROTOCOL])),
        case("http2/6.9/2", vec![open(), window(1, 0)], Stream(&[PROTOCOL])),
        case("http2/6.9/3", vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1])], Connection(&[FRAME_SIZE])),
        steps(
            "http2/6.9.1/1",
            vec![send(vec![setting(WINDOW, 1)]), Await(SettingsAck), send(vec![whole()]), Await(Data(Some(1)))],
        ),
        case("http2/6.9.1/2", vec![window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)], Connection(&[FLOW_CONTROL])),
        case("http2/6.9.1/3", vec![open(), window(1, 0x7fff_ffff), window(1, 0x7fff_ffff)], Stream(&[FLOW_CONTROL])),
        steps(
            "http2/6.9.2/1",
            vec![
                send(vec![setting(WINDOW, 0)]),
                Await(SettingsAck),
                send(vec![whole(), setting(WINDOW, 1)]),
                Await(Data(Some(1))),
            ],
        ),
        steps(
            "http2/6.9.2/2",
            vec![
                send(vec![setting(WINDOW, 3)]),
                Await(SettingsAck),
                send(vec![whole()]),
                Await(Data(Some(3))),
                send(vec![setting(WINDOW, 2)]),
                Await(SettingsAck),
                send(vec![window(1, 2)]),
                Await(Data(Some(1))),
            ],
        ),
        case("http2/6.9.2/3", vec![setting(WINDOW, 1 << 31)], Connection(&[FLOW_CONTROL])),
    ]
}

fn messages() -> Vec<Case> {
    let bad = |id, block: &[u8]| case(id, vec![headers(1, WHOLE, block)], Stream(&[PROTOCOL]));
    let trailers = |id, flags, fields: &[Field<'_>]| {
        let sent = vec![headers(1, END_HEADERS, &post(&[])), data(1, 0, b"test"), headers(1, flags, &block(fields))];
        case(id, sent, Stream(&[PROTOCOL]))
    };
    let length = || headers(1, END_HEADERS, &post(&[("content-length", b"1")]));
    let x_test: Field<'_> = ("x-test", b"ok");
    vec![
        trailers("http2/8.1/1", END_HEADERS, &[x_test]),
        bad("http2/8.1.2/1", &get(&[("X-TEST", b"ok")])),
        bad("http2/8.1.2.1/1", &get(&[(":test", b"ok")])),
        bad("http2/8.1.2.1/2", &get(&[(":status", b"200")])),
        trailers("http2/8.1.2.1/3", END_HEADERS, &[POST]),
        bad("http2/8.1.2.1/4", &block(&[x_test, METHOD, SCHEME, PATH, AUTHORITY])),
        bad("http2/8.1.2.2/1", &get(&[("connection", b"keep-alive")])),
        bad("http2/8.1.2.2/2", &get(&[("trailers", b"test"), ("te", b"trailers, deflate")])),
        bad("http2/8.1.2.3/1", &block(&[METHOD, SCHEME, (":path", b""), AUTHORITY])),
        bad("http2/8.1.2.3/2", &block(&[SCHEME, PATH, AUTHORITY])),
        bad("http2/8.1.2.3/3", &block(&[METHOD, PATH, AUTHORITY])),
        bad("http2/8.1.2.3/4", &block(&[METHOD, SCHEME, AUTHORITY])),
        bad("http2/8.1.2.3/5", &get(&[METHOD])),
        bad("http2/8.1.2.3/6", &get(&[SCHEME])),
        bad("http2/8.1.2.3/7", &get(&[PATH])),
        case("http2/8.1.2.6/1", vec![length(), data(1, END_STREAM, b"test")], Stream(&[PROTOCOL])),
        case("http2/8.1.2.6/2", vec![length(), data(1, 0, b"test"), data(1, END_STREAM, b"test")], Stream(&[PROTOCOL])),
        case(
            "http2/8.2/1",
            vec![frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 3][..], &get(&[])].concat())],
            Connection(&[PROTOCOL]),
        ),
    ]
}

fn hpack() -> Vec<Case> {
    let bad = |id, block: Vec<u8>| case(id, vec![headers(1, WHOLE, &block)], Connection(&[COMPRESSION]));
    let behind = |bytes: &[u8]| [get(&[]), bytes.to_vec()].concat();
    vec![
        bad("hpack/2.3.3/1", behind(b"\xc6")),
        bad("hpack/2.3.3/2", behind(b"\x7f\x07\x00")),
        bad("hpack/4.2/1", behind(b"\x21")),
        bad("hpack/5.2/1", behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")),
        bad("hpack/5.2/2", behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")),
        bad("hpack/5.2/3", behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")),
        bad("hpack/6.1/1", behind(b"\x80")),
        // A table of 4,097 bytes, where 4,096 are allowed.
        bad("hpack/6.3/1", [b"\x3f\xe2\x1f".to_vec(), get(&[])].concat()),
    ]
}

/// Names and values of these are `user-agent` or `x-test`, and `h2spec`, plainly or by Huffman's code.
const LITERALS: &[(&str, &[u8])] = &[
    ("generic/5/1", b"\xba"),
    ("generic/5/2", b"\x40\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"),
    ("generic/5/3", b"\x40\x0a\x75\x73\x65\x72\x2d\x61\x67\x65\x6e\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/4", b"\x40\x06\x78\x2d\x74\x65\x73\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/5", b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
    ("generic/5/6", b"\x00\x0a\x75\x73\x65\x72\x2d\x61\x67\x65\x6e\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/7", b"\x00\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"),
    ("generic/5/8", b"\x00\x06\x78\x2d\x74\x65\x73\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/9", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
    ("generic/5/10", b"\x10\x0a\x75\x73\x65\x72\x2d\x61\x67\x65\x6e\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/11", b"\x10\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4"),
    ("generic/5/12", b"\x10\x06\x78\x2d\x74\x65\x73\x74\x06\x68\x32\x73\x70\x65\x63"),
    ("generic/5/13", b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
];

fn generic() -> Vec<Case> {
    let whole = || headers(1, WHOLE, &get(&[]));
    let blocked = || vec![setting(WINDOW, 0), whole()];
    let upload = || headers(1, END_HEADERS, &post(&[]));
    let prioritised = |id, frame| case(id, vec![frame, whole()], Answer);
    let head = get(&[]);
    let mut cases = vec![
        case("generic/2/1", vec![priority(1, 0, 255), ping(MARK)], Pong(MARK)),
        case("generic/2/2", [blocked(), vec![window(1, 1)]].concat(), Data(None)),
        case("generic/2/3", [blocked(), vec![priority(1, 0, 255), window(1, 1)]].concat(), Data(None)),
        case("generic/2/4", vec![whole(), reset(1, CANCEL), ping(MARK)], PongOrEnd(MARK)),
        steps(
            "generic/2/5",
            vec![send(vec![whole()]), Await(End), send(vec![priority(1, 0, 255), ping(MARK)]), Await(Pong(MARK))],
        ),
        case("generic/3.1/1", vec![upload(), data(1, END_STREAM, b"test")], Answer),
        case("generic/3.1/2", vec![upload(), data(1, 0, b"test"), data(1, END_STREAM, b"test")], Answer),
        case("generic/3.1/3", vec![upload(), data(1, END_STREAM | PADDED, b"\x05test\0\0\0\0\0")], Answer),
        case("generic/3.2/1", vec![whole()], Answer),
        case("generic/3.2/2", vec![headers(1, WHOLE | PADDED, &[&[8], head.as_slice(), &[0; 8]].concat())], Answer),
        case(
            "generic/3.2/3",
            vec![headers(1, WHOLE | PRIORITISED, &[&[0, 0, 0, 0, 255], head.as_slice()].concat())],
            Answer,
        ),
        prioritised("generic/3.3/1", priority(1, 0, 0)),
        prioritised("generic/3.3/2", priority(1, 0, 255)),
        prioritised("generic/3.3/3", priority(3, 1, 0)),
        prioritised("generic/3.3/4", priority(1, 1 << 31, 0)),
        prioritised("generic/3.3/5", priority(3, 0, 255)),
        case("generic/3.4/1", vec![headers(1, END_HEADERS, &head), reset(1, CANCEL), ping(MARK)], PongOrEnd(MARK)),
        case("generic/3.5/1", vec![every_setting()], SettingsAck),
        case("generic/3.7/1", vec![ping(MARK)], Pong(MARK)),
        case("generic/3.8/1", vec![frame(kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0h2spec"), ping(MARK)], PongOrEnd(MARK)),
        case("generic/3.9/1", vec![window(0, 1), ping(MARK)], Pong(MARK)),
        case("generic/3.9/2", vec![whole(), window(1, 1)], Answer),
        case(
            "generic/3.10/1",
            vec![headers(1, END_STREAM, &head[..5]), continuation(1, END_HEADERS, &head[5..])],
            Answer,
        ),
        case(
            "generic/3.10/2",
            vec![
                headers(1, END_STREAM, &head[..5]),
                continuation(1, 0, &head[5..10]),
                continuation(1, END_HEADERS, &head[10..]),
            ],
            Answer,
        ),
        case("generic/4/1", vec![whole()], Answer),
        case("generic/4/2", vec![headers(1, WHOLE, &block(&[(":method", b"HEAD"), SCHEME, PATH, AUTHORITY]))], Answer),
        case("generic/4/3", vec![upload(), data(1, END_STREAM, b"test")], Answer),
        case(
            "generic/4/4",
            vec![
                headers(1, END_HEADERS, &post(&[("trailer", b"x-test")])),
                data(1, 0, b"test"),
                headers(1, WHOLE, &block(&[("x-test", b"ok")])),
            ],
            Answer,
        ),
        case("generic/5/14", vec![headers(1, WHOLE, &[b"\x3f\x61".to_vec(), get(&[])].concat())], Answer),
        case("generic/5/15", vec![headers(1, WHOLE, &[b"\x3f\x61\x3f\xe1\x1f".to_vec(), get(&[])].concat())], Answer),
    ];
    cases.extend(
        LITERALS.iter().map(|(id, field)| case(id, vec![headers(1, WHOLE, &[&head, *field].concat())], Answer)),
    );
    cases
}

fn every_setting() -> Vec<u8> {
    let settings = [(1_u16, 4_096_u32), (2, 1), (3, 100), (4, 65_535), (5, 16_384), (6, 100)];
    let payload = settings.map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).concat();
    frame(kind::SETTINGS, 0, 0, &payload)
}
