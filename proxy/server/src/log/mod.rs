//! The access log: one JSON line per request, written without ever waiting.
//!
//! A line is appended to a buffer that belongs to the calling worker; one thread collects the buffers ten times a second
//! and writes them. Buffers rather than a channel: a channel costs an allocation and often a wake-up per line, a buffer
//! neither. When the writer cannot keep up, or fails, lines are lost and counted, and requests are not delayed.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::Duration;

pub use self::line::{Entry, Fault, Level, Tls};

/// What one buffer may hold before lines are lost: some 10,000 lines. A worker has two.
const BUFFER_LIMIT: usize = 4 << 20;

/// From here on the writer does not wait for its next time.
const BUFFER_FULL: usize = 1 << 20;

/// What an empty buffer keeps of its room after a burst.
const SPARE_LIMIT: usize = 256 << 10;

/// How long a line waits at most before it is written.
const PERIOD: Duration = Duration::from_millis(100);

/// How long the end of the process waits for the last lines: a reader that stopped reading must not stop the exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// To the end of this file, which is made with mode 0640 where it does not exist.
    File(PathBuf),
}

/// One worker's end of the access log. A clone has buffers of its own: give each worker one.
#[derive(Debug)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
    buffers: Arc<Buffers>,
}

/// Keeps the writing thread; dropping it writes what is left, for at most two seconds.
#[derive(Debug)]
pub struct Guard {
    thread: Option<(Arc<Shared>, Receiver<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    workers: Mutex<Vec<Arc<Buffers>>>,
    /// The writing thread.
    writer: OnceLock<Thread>,
    closed: AtomicBool,
    /// The file is to be opened again.
    reopen: AtomicBool,
    lost: Arc<AtomicU64>,
}

/// Where lines go.
trait Sink: Write {
    /// Opens it again by its name, where it has one: the file may have been moved away.
    ///
    /// # Errors
    /// It cannot be opened; the one that is open stays.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stdout {}

/// A file with its name.
struct Named(File, PathBuf);

impl Sink for Named {
    fn reopen(&mut self) -> io::Result<()> {
        self.0 = open(&self.1)?;
        Ok(())
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Two, so that one is free whenever the writer holds the other for the moment of taking its content.
#[derive(Debug, Default)]
struct Buffers([Mutex<Buffer>; 2]);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
}

impl AccessLog {
    /// Opens the target and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn open(target: Target) -> io::Result<(Self, Guard)> {
        match target {
            Target::Off => Ok((Self { shared: None, buffers: Arc::default() }, Guard { thread: None })),
            Target::Stdout => Self::start(io::stdout()),
            Target::File(path) => Self::start(Named(open(&path)?, path)),
        }
    }

    fn start(sink: impl Sink + Send + 'static) -> io::Result<(Self, Guard)> {
        let shared = Arc::new(Shared::default());
        let (done, finished) = mpsc::channel();
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            seen.write_until_closed(sink);
            // Nobody waits any more when the guard gave up.
            let _ = done.send(());
        })?;
        shared.writer.get_or_init(|| thread.thread().clone());
        Ok((Self::attached(Arc::clone(&shared)), Guard { thread: Some((shared, finished)) }))
    }

    /// Has the file opened again by its name, so that a rotated one can be moved away first: lines that wait go to the new
    /// one. Does not wait for it.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Relaxed);
            shared.wake();
        }
    }

    fn attached(shared: Arc<Shared>) -> Self {
        let buffers = Arc::new(Buffers::default());
        shared.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&buffers));
        Self { shared: Some(shared), buffers }
    }

    /// Whether lines are wanted: an entry for a log that is off need not be made.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Appends one line. Never waits: a line for which there is no room is counted as lost. About a microsecond.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(shared) = &self.shared else { return };
        if shared.closed.load(Relaxed) {
            shared.lost.fetch_add(1, Relaxed);
            return;
        }
        match self.buffers.append(entry) {
            Appended::Kept => {}
            Appended::Filled => shared.wake(),
            Appended::Lost => drop(shared.lost.fetch_add(1, Relaxed)),
        }
    }

    /// The count of lost lines.
    #[must_use]
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.shared.as_ref().map(|shared| Arc::clone(&shared.lost)).unwrap_or_default()
    }
}

impl Clone for AccessLog {
    fn clone(&self) -> Self {
        match &self.shared {
            Some(shared) => Self::attached(Arc::clone(shared)),
            None => Self { shared: None, buffers: Arc::default() },
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((shared, finished)) = self.thread.take() else { return };
        shared.closed.store(true, Relaxed);
        shared.wake();
        // Past the timeout the process leaves without the rest.
        let _ = finished.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Appended {
    Kept,
    /// Kept, and the writer should come.
    Filled,
    Lost,
}

impl Buffers {
    fn append(&self, entry: &Entry<'_>) -> Appended {
        for buffer in &self.0 {
            let mut buffer = match buffer.try_lock() {
                Ok(buffer) => buffer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if buffer.bytes.len() < BUFFER_LIMIT {
                return buffer.append(entry);
            }
        }
        Appended::Lost
    }
}

impl Buffer {
    fn append(&mut self, entry: &Entry<'_>) -> Appended {
        let before = self.bytes.len();
        line::append(&mut self.bytes, entry);
        self.lines += 1;
        // Once for each filling, not for each line after it.
        if before < BUFFER_FULL && self.bytes.len() >= BUFFER_FULL { Appended::Filled } else { Appended::Kept }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

impl Shared {
    fn wake(&self) {
        // Absent only while the thread is being started, which looks at the buffers first.
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn write_until_closed(&self, mut sink: impl Sink) {
        let mut spare = Buffer::default();
        let mut torn = false;
        loop {
            let closed = self.closed.load(Relaxed);
            if self.reopen.swap(false, Relaxed)
                && let Err(error) = sink.reopen()
            {
                tracing::error!(%error, "the access log cannot be opened again; lines go where they went");
            }
            for buffers in self.workers() {
                buffers.0.iter().for_each(|buffer| torn = self.write_out(buffer, &mut spare, &mut sink, torn));
            }
            if closed {
                return;
            }
            thread::park_timeout(PERIOD);
        }
    }

    /// All buffers that may hold lines. Those whose worker has gone are forgotten, after this one time.
    fn workers(&self) -> Vec<Arc<Buffers>> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = workers.clone();
        // One for the list, one for the answer.
        workers.retain(|buffers| Arc::strong_count(buffers) > 2);
        all
    }

    /// Takes what waits, leaving the empty `spare` in its place, and writes it. A write that failed may have torn a line:
    /// the next one then begins with a line feed of its own. Answers with whether that is so.
    fn write_out(&self, buffer: &Mutex<Buffer>, spare: &mut Buffer, sink: &mut impl Sink, mut torn: bool) -> bool {
        std::mem::swap(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner), spare);
        if spare.lines > 0 {
            let mended = if torn { sink.write_all(b"\n") } else { Ok(()) };
            torn = mended.and_then(|()| sink.write_all(&spare.bytes)).and_then(|()| sink.flush()).is_err();
            // Some of them may have arrived; which, the error does not say.
            self.lost.fetch_add(if torn { spare.lines } else { 0 }, Relaxed);
        }
        spare.lines = 0;
        spare.bytes.clear();
        spare.bytes.shrink_to(SPARE_LIMIT);
        torn
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::Sender;
    use std::time::{Instant, SystemTime};

    use super::*;

    fn entry(path: &[u8]) -> Entry<'_> {
        Entry {
            timestamp: SystemTime::UNIX_EPOCH,
            level: Level::Info,
            message: "answered",
            request_id: b"1",
            ip_address: "192.0.2.7",
            method: b"GET",
            host: b"shop",
            path,
            query: None,
            tls: None,
            protocol: "HTTP/1.1",
            status: Some(200),
            grpc_status: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            upstream: None,
            route: None,
            service: None,
            version: None,
            region: None,
            endpoint: None,
            attempts: 1,
            outcome: "success",
            fault: None,
            first_error: None,
            placement: None,
            split: None,
            user_agent: None,
            revision: 1,
        }
    }

    fn paths(text: &str) -> Vec<String> {
        let path = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
        text.lines().map(path).collect()
    }

    #[test]
    fn lines_of_every_worker_are_in_the_file_when_the_guard_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "{\"path\":\"before\"}\n").unwrap();
        let (log, guard) = AccessLog::open(Target::File(path.clone())).unwrap();
        let gone = log.clone();
        log.write(&entry(b"/first"));
        gone.write(&entry(b"/second"));
        drop(gone);
        drop(guard);
        assert_eq!(paths(&std::fs::read_to_string(&path).unwrap()), ["before", "/first", "/second"]);
        log.write(&entry(b"/late"));
        assert_eq!(log.lost().load(Relaxed), 1);
    }

    #[test]
    fn a_new_file_is_not_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let opened = AccessLog::open(Target::File(path.clone())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
        drop(opened);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (log, guard) = AccessLog::open(Target::File(path.clone())).unwrap();
        log.write(&entry(b"/before"));
        while std::fs::metadata(&path).unwrap().len() == 0 {
            thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.write(&entry(b"/after"));
        drop(guard);
        let read = |path| paths(&std::fs::read_to_string(path).unwrap());
        assert_eq!((read(&moved), read(&path)), (vec!["/before".to_owned()], vec!["/after".to_owned()]));
    }

    #[test]
    fn a_line_arrives_without_anybody_closing_the_log() {
        let (sent, arrived) = mpsc::channel();
        let (log, _guard) = AccessLog::start(Channel(sent)).unwrap();
        log.write(&entry(b"/now"));
        let bytes = arrived.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(paths(std::str::from_utf8(&bytes).unwrap()), ["/now"]);
    }

    #[test]
    fn a_burst_larger_than_the_buffers_is_written_without_waiting_for_the_next_time() {
        let (sent, arrived) = mpsc::channel();
        let (log, _guard) = AccessLog::start(Channel(sent)).unwrap();
        let path = vec![b'x'; BUFFER_FULL];
        let begun = Instant::now();
        for _ in 0..40 {
            log.write(&entry(&path));
            arrived.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        assert!(begun.elapsed() < 40 * PERIOD / 2, "{:?}", begun.elapsed());
        assert_eq!(log.lost().load(Relaxed), 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        assert!(AccessLog::open(Target::File("/nonexistent/access.log".into())).is_err());
    }

    #[test]
    fn off_writes_nothing_and_loses_nothing() {
        let (log, _guard) = AccessLog::open(Target::Off).unwrap();
        log.write(&entry(b"/"));
        assert!(!log.is_on() && !log.clone().is_on());
        assert_eq!(log.lost().load(Relaxed), 0);
    }

    #[test]
    fn a_writer_that_hangs_delays_nobody_and_what_does_not_fit_is_counted() {
        let (release, held) = mpsc::channel();
        let (log, guard) = AccessLog::start(Hanging(held)).unwrap();
        let path = vec![b'x'; 1 << 20];
        let begun = Instant::now();
        (0..64).for_each(|_| log.write(&entry(&path)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let lost = log.lost().load(Relaxed);
        // Two buffers of 4 MiB, and once more as much if the writer took them before it hung.
        assert!((64 - 20..=64 - 8).contains(&lost), "{lost}");
        drop(release);
        drop(guard);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let (log, guard) = AccessLog::start(Failing).unwrap();
        (0..5).for_each(|_| log.write(&entry(b"/")));
        drop(guard);
        assert_eq!(log.lost().load(Relaxed), 5);
    }

    #[test]
    fn many_workers_lose_nothing_and_tear_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, guard) = AccessLog::open(Target::File(path.clone())).unwrap();
        thread::scope(|scope| {
            for worker in 0..4 {
                let log = log.clone();
                scope.spawn(move || (0..2000).for_each(|i| log.write(&entry(format!("/{worker}/{i}").as_bytes()))));
            }
        });
        drop(guard);
        assert_eq!(log.lost().load(Relaxed), 0);
        let mut seen = paths(&std::fs::read_to_string(&path).unwrap());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8000);
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next_one() {
        let shared = Shared::default();
        let mut sink = Full { room: 10, written: Vec::new() };
        let mut torn = false;
        for path in [&b"/torn"[..], b"/whole"] {
            let buffer = Mutex::default();
            lock(&buffer).append(&entry(path));
            torn = shared.write_out(&buffer, &mut Buffer::default(), &mut sink, torn);
            sink.room = usize::MAX;
        }
        let text = String::from_utf8(sink.written).unwrap();
        assert_eq!(shared.lost.load(Relaxed), 1);
        assert_eq!(text.lines().next(), Some("{\"timestam"));
        assert_eq!(paths(text.split_once('\n').unwrap().1), ["/whole"]);
    }

    fn lock(buffer: &Mutex<Buffer>) -> std::sync::MutexGuard<'_, Buffer> {
        buffer.lock().unwrap()
    }

    /// Takes so many bytes and then no more.
    struct Full {
        room: usize,
        written: Vec<u8>,
    }

    impl Sink for Full {}

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Channel(Sender<Vec<u8>>);

    impl Sink for Channel {}

    impl Write for Channel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Hangs in its first write until the other end of the channel is dropped.
    struct Hanging(Receiver<()>);

    impl Sink for Hanging {}

    impl Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(self.0.recv().is_err());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing;

    impl Sink for Failing {}

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
