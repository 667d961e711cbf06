//! Decides when a client of HTTP/2 sends more frames than any fair client has reason to.
//!
//! A frame that costs its sender nine bytes can cost us an answer, a walk over all streams or a wake of the connection's
//! task. Flow control bounds data and the limit on streams bounds requests, but nothing in the protocol bounds the other
//! frames. Each kind has an allowance, and a connection that has used one up is cut.
//!
//! An allowance is a bucket: it begins full, fills at a steady rate, and is *earned* by what makes a fair client send
//! such frames. Earning is why this is not the obvious other rule, so many frames in so many seconds: a client that
//! downloads at 10 Gbit/s sends thousands of WINDOW_UPDATE a second and is no attacker, one that downloads nothing and
//! sends a hundred is. A plain limit must be wrong for one of the two.
//!
//! | frame | begins with | per second | earned by |
//! |---|---|---|---|
//! | PING | 100 | 10 | 1 by each DATA frame that we send: a client measures its bandwidth with one PING per round trip |
//! | SETTINGS | 50 | 1 | nothing: each costs a walk over all streams, and clients send one to ten in all |
//! | GOAWAY | 10 | 1 | nothing: a client sends two |
//! | PRIORITY, unknown types | 256 | 10 | 4 by each head that we get: browsers order streams anew, and send types of their own |
//! | WINDOW_UPDATE | 1,000 | 100 | 4 by each head, and 4 by each DATA frame that we send: simple clients send two for each |
//! | RST_STREAM | 4 × streams | streams | 1 by each stream that we ended: clients give up at most what they may have open, and what lives a second can be reset only so often |
//! | CONTINUATION | 64 | 10 | 2 by each head that is not whole: the largest head that is accepted needs no more |
//! | crumbs | 1,000 | 100 | 1 by each 64 KiB that we send: what is left of a window is small once for each window |
//!
//! A *crumb* is a DATA frame of ours that is small because the client's window allowed no more: a client that opens its
//! window byte by byte makes us frame each byte. DATA frames of clients are not counted here: the `h2` crate bounds the
//! small ones by what they take of memory, and empty ones by a hundred for each connection.
//!
//! The first frame of a connection must be SETTINGS (RFC 9113, 3.4).
//!
//! Invariants: in any time the frames of a kind that pass are at most what the bucket held at its beginning, the rate
//! times that time, and what was earned in it; a bucket never holds more than it begins with; once cut, always cut.

use std::time::Instant;

/// Types of frames, as far as they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Any other type: to be passed over (RFC 9113, 5.5).
    Unknown,
}

impl Kind {
    /// By the octet on the wire.
    #[must_use]
    pub const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// As on the wire.
    pub flags: u8,
    /// Of the payload, in bytes.
    pub length: u32,
}

impl Frame {
    const END_STREAM: u8 = 0x1;
    const END_HEADERS: u8 = 0x4;

    const fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & Self::END_STREAM != 0
    }
}

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Too many PING, answers to PING among them.
    Ping,
    /// Too many SETTINGS.
    Settings,
    /// Too many GOAWAY.
    GoAway,
    /// Too many PRIORITY or frames of unknown types.
    Priority,
    /// Too many WINDOW_UPDATE.
    WindowUpdate,
    /// Too many RST_STREAM.
    Reset,
    /// Too many CONTINUATION.
    Continuation,
    /// Windows that let hardly anything through.
    Crumbs,
    /// The first frame was not SETTINGS.
    Preface,
}

impl Cut {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Ping,
        Self::Settings,
        Self::GoAway,
        Self::Priority,
        Self::WindowUpdate,
        Self::Reset,
        Self::Continuation,
        Self::Crumbs,
        Self::Preface,
    ];

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::GoAway => "goaway",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::Reset => "rst_stream",
            Self::Continuation => "continuation",
            Self::Crumbs => "crumbs",
            Self::Preface => "preface",
        }
    }
}

/// What one kind of frame may be.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u32,
    per_second: u32,
}

/// How many kinds have an allowance: all of [`Cut`] but the preface.
const BUCKETS: usize = Cut::ALL.len() - 1;
/// Buckets count in thousandths, so that a rate per second is a rate per millisecond.
const UNIT: u32 = 1_000;
/// What pays for one crumb.
const CRUMB_PRICE: u32 = 64 * 1024;

/// The allowances of one connection. 56 bytes; a step is a comparison and a subtraction.
#[derive(Debug)]
pub struct Floods {
    left: [u32; BUCKETS],
    streams: u32,
    filled: Instant,
    /// Bytes sent that have not yet paid for a crumb.
    sent: u32,
    begun: bool,
    cut: Option<Cut>,
}

impl Floods {
    /// Of a connection that may have this many streams open at once.
    #[must_use]
    pub fn new(streams: u32, now: Instant) -> Self {
        let left = std::array::from_fn(|at| allowance(Cut::ALL[at], streams).burst * UNIT);
        Self { left, streams, filled: now, sent: 0, begun: false, cut: None }
    }

    /// A frame has come from the client.
    ///
    /// # Errors
    /// Why the connection is to be cut, from then on by every call.
    pub fn step(&mut self, frame: Frame, now: Instant) -> Result<(), Cut> {
        self.fill(now);
        if !self.begun && frame.kind != Kind::Settings {
            self.cut.get_or_insert(Cut::Preface);
        }
        self.begun = true;
        match frame.kind {
            Kind::Headers => self.head(frame),
            Kind::Ping => self.take(Cut::Ping),
            Kind::Settings => self.take(Cut::Settings),
            Kind::GoAway => self.take(Cut::GoAway),
            Kind::Priority | Kind::Unknown => self.take(Cut::Priority),
            Kind::WindowUpdate => self.take(Cut::WindowUpdate),
            Kind::Reset => self.take(Cut::Reset),
            Kind::Continuation => self.take(Cut::Continuation),
            // Bounded by windows; not to be sent by clients at all.
            Kind::Data | Kind::PushPromise => {}
        }
        self.cut.map_or(Ok(()), Err)
    }

    /// We have sent a frame.
    pub fn sent(&mut self, frame: Frame) {
        if frame.kind == Kind::Data {
            self.earn(Cut::Ping, 1);
            self.earn(Cut::WindowUpdate, 4);
            self.sent = self.sent.saturating_add(frame.length);
            self.earn(Cut::Crumbs, self.sent / CRUMB_PRICE);
            self.sent %= CRUMB_PRICE;
        }
        if frame.ends_stream() {
            self.earn(Cut::Reset, 1);
        }
    }

    /// We are about to send a crumb.
    ///
    /// # Errors
    /// As [`Floods::step`].
    pub fn crumb(&mut self, now: Instant) -> Result<(), Cut> {
        self.fill(now);
        self.take(Cut::Crumbs);
        self.cut.map_or(Ok(()), Err)
    }

    fn head(&mut self, frame: Frame) {
        self.earn(Cut::Priority, 4);
        self.earn(Cut::WindowUpdate, 4);
        if frame.flags & Frame::END_HEADERS == 0 {
            self.earn(Cut::Continuation, 2);
        }
    }

    fn take(&mut self, kind: Cut) {
        let left = &mut self.left[kind as usize];
        match left.checked_sub(UNIT) {
            Some(rest) => *left = rest,
            None => drop(self.cut.get_or_insert(kind)),
        }
    }

    fn earn(&mut self, kind: Cut, frames: u32) {
        let most = allowance(kind, self.streams).burst * UNIT;
        let left = &mut self.left[kind as usize];
        *left = left.saturating_add(frames.saturating_mul(UNIT)).min(most);
    }

    /// Fills all buckets with what the time since the last call brings. What is less than a millisecond is kept for later.
    fn fill(&mut self, now: Instant) {
        let millis = u32::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(u32::MAX);
        if millis == 0 {
            return;
        }
        self.filled += std::time::Duration::from_millis(millis.into());
        for (kind, left) in Cut::ALL.into_iter().zip(&mut self.left) {
            let allowance = allowance(kind, self.streams);
            *left = left.saturating_add(millis.saturating_mul(allowance.per_second)).min(allowance.burst * UNIT);
        }
    }
}

/// The table.
const fn allowance(kind: Cut, streams: u32) -> Allowance {
    let (burst, per_second) = match kind {
        Cut::Ping => (100, 10),
        Cut::Settings => (50, 1),
        Cut::GoAway => (10, 1),
        Cut::Priority => (256, 10),
        Cut::WindowUpdate | Cut::Crumbs => (1_000, 100),
        Cut::Reset => (4 * streams, streams),
        Cut::Continuation => (64, 10),
        Cut::Preface => (1, 0),
    };
    Allowance { burst, per_second }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const STREAMS: u32 = 128;

    /// Any moment will do.
    #[allow(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn start() -> Instant {
        Instant::now()
    }

    const fn frame(kind: Kind) -> Frame {
        Frame { kind, flags: 0, length: 8 }
    }

    fn begun(now: Instant) -> Floods {
        let mut floods = Floods::new(STREAMS, now);
        floods.step(frame(Kind::Settings), now).unwrap();
        floods
    }

    const COUNTED: [(Kind, Cut); 7] = [
        (Kind::Ping, Cut::Ping),
        (Kind::Settings, Cut::Settings),
        (Kind::GoAway, Cut::GoAway),
        (Kind::Priority, Cut::Priority),
        (Kind::WindowUpdate, Cut::WindowUpdate),
        (Kind::Reset, Cut::Reset),
        (Kind::Continuation, Cut::Continuation),
    ];

    #[test]
    fn each_flood_is_cut_where_the_table_says() {
        let now = start();
        for (kind, cut) in COUNTED {
            let mut floods = begun(now);
            let spent = u32::from(kind == Kind::Settings);
            for at in spent..allowance(cut, STREAMS).burst {
                assert_eq!(floods.step(frame(kind), now), Ok(()), "{kind:?} {at}");
            }
            assert_eq!(floods.step(frame(kind), now), Err(cut));
            assert_eq!(floods.step(frame(Kind::Data), now + Duration::from_secs(3_600)), Err(cut), "for good");
        }
    }

    #[test]
    fn the_first_frame_is_settings() {
        let now = start();
        assert_eq!(Floods::new(STREAMS, now).step(frame(Kind::Headers), now), Err(Cut::Preface));
        assert_eq!(begun(now).step(frame(Kind::Headers), now), Ok(()));
    }

    #[test]
    fn names_are_distinct_and_places_are_those_of_the_buckets() {
        let names: std::collections::BTreeSet<_> = Cut::ALL.iter().map(|cut| cut.as_str()).collect();
        assert_eq!(names.len(), Cut::ALL.len());
        assert!(Cut::ALL.iter().enumerate().all(|(at, cut)| *cut as usize == at));
        assert_eq!(Cut::Preface as usize, BUCKETS);
    }

    /// One PING a second for a day, and one for each DATA frame of a stream of messages.
    #[test]
    fn keepalive_and_measuring_pass() {
        let mut now = start();
        let mut floods = begun(now);
        for _ in 0..86_400 {
            now += Duration::from_secs(1);
            floods.step(frame(Kind::Ping), now).unwrap();
        }
        for _ in 0..1_000_000 {
            floods.sent(Frame { kind: Kind::Data, flags: 0, length: 12 });
            floods.step(frame(Kind::Ping), now).unwrap();
            floods.step(frame(Kind::WindowUpdate), now).unwrap();
            floods.step(frame(Kind::WindowUpdate), now).unwrap();
        }
    }

    /// Requests that are all given up after a second, as many as may be open.
    #[test]
    fn deadlines_of_a_second_pass() {
        let mut now = start();
        let mut floods = begun(now);
        for _ in 0..600 {
            (0..STREAMS).for_each(|_| floods.step(frame(Kind::Headers), now).unwrap());
            now += Duration::from_secs(1);
            (0..STREAMS).for_each(|_| floods.step(frame(Kind::Reset), now).unwrap());
        }
    }

    #[test]
    fn a_window_that_is_opened_byte_by_byte_is_cut_and_a_download_is_not() {
        let now = start();
        let mut floods = begun(now);
        let cut = (0..2_000).find_map(|_| {
            floods.sent(Frame { kind: Kind::Data, flags: 0, length: 1 });
            floods.crumb(now).err()
        });
        assert_eq!(cut, Some(Cut::Crumbs));
        let mut floods = begun(now);
        for _ in 0..100_000 {
            (0..4).for_each(|_| floods.sent(Frame { kind: Kind::Data, flags: 0, length: 16_384 }));
            floods.crumb(now).unwrap();
        }
    }

    /// Frames of any kinds at any times.
    fn events() -> impl Strategy<Value = Vec<(u8, bool, u8, u16)>> {
        prop::collection::vec((0_u8..12, any::<bool>(), any::<u8>(), 0_u16..50), 0..3_000)
    }

    proptest! {
        /// What passes is bounded by the table, whatever the order.
        #[test]
        fn no_more_passes_than_was_there_and_was_earned(events in events()) {
            let start = start();
            let (mut now, mut floods) = (start, begun(start));
            let mut passed = [0_u64; 12];
            let (mut heads, mut data) = (0, 0);
            for (kind, ours, flags, wait) in events {
                now += Duration::from_millis(wait.into());
                let frame = Frame { kind: Kind::of(kind), flags, length: 100 };
                if ours {
                    floods.sent(frame);
                    data += u64::from(frame.kind == Kind::Data);
                    continue;
                }
                if floods.step(frame, now).is_err() {
                    break;
                }
                heads += u64::from(frame.kind == Kind::Headers);
                passed[usize::from(kind)] += 1;
            }
            let time = (now - start).as_millis() as u64;
            let most = |cut, earned| {
                let allowance = allowance(cut, STREAMS);
                u64::from(allowance.burst) + time * u64::from(allowance.per_second) / 1_000 + 1 + earned
            };
            prop_assert!(passed[6] <= most(Cut::Ping, data));
            prop_assert!(passed[4] <= most(Cut::Settings, 0));
            prop_assert!(passed[7] <= most(Cut::GoAway, 0));
            prop_assert!(passed[2] + passed[10] + passed[11] <= most(Cut::Priority, 4 * heads));
            prop_assert!(passed[8] <= most(Cut::WindowUpdate, 4 * (heads + data)));
            prop_assert!(passed[9] <= most(Cut::Continuation, 2 * heads));
        }

        /// The rate itself never cuts, however it falls into steps.
        #[test]
        fn the_steady_rate_passes(steps in prop::collection::vec(1_u64..5_000, 1..300)) {
            let mut now = start();
            let mut floods = begun(now);
            let mut owed = 0_u64;
            for step in steps {
                now += Duration::from_millis(step);
                owed += step * u64::from(allowance(Cut::Ping, STREAMS).per_second);
                let frames = (owed / 1_000).min(100);
                owed = if frames == 100 { 0 } else { owed % 1_000 };
                for _ in 0..frames {
                    prop_assert_eq!(floods.step(frame(Kind::Ping), now), Ok(()));
                }
            }
        }
    }
}
