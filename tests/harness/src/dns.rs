//! A DNS server that says what a suite tells it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::wait::until;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The largest question.
const BUFFER: usize = 4_096;

/// What is said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// These addresses, for so many seconds. A question for the other kind has an empty answer.
    Addresses(Vec<IpAddr>, u32),
    /// These targets, each with priority, weight, port and host, for so many seconds.
    Targets(Vec<(u16, u16, u16, String)>, u32),
    /// The name has no such records.
    Nothing,
    /// There is no such name.
    NoName,
    /// SERVFAIL.
    Failure,
    /// REFUSED.
    Refusal,
    /// No answer at all.
    Silence,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By name, in lower case and without the last dot. A name that is not here does not exist.
    said: Mutex<BTreeMap<String, Said>>,
    questions: AtomicU64,
    ended: AtomicBool,
}

impl Dns {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// When the system refuses a socket or a thread.
    #[must_use]
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket for DNS");
        socket.set_read_timeout(Some(LOOK)).expect("a time to wait above 0");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("dns".to_owned()).spawn(move || serve(&socket, &theirs));
        Self { address, shared, thread: Some(thread.expect("a thread for DNS")) }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this of a name from now on.
    pub fn say(&self, name: &str, said: Said) {
        self.shared.said().insert(name.to_owned(), said);
    }

    /// How often it was asked.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.shared.questions.load(Ordering::Relaxed)
    }

    /// Waits until it was asked so many times more.
    ///
    /// # Panics
    /// When it is not.
    pub fn wait_asked(&self, more: u64) {
        let before = self.questions();
        until(&format!("DNS is asked {more} times more"), || (self.questions() >= before + more).then_some(()));
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panicked, and has told so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, BTreeMap<String, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; BUFFER];
    while !shared.ended.load(Ordering::Relaxed) {
        // Nothing came in time.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        shared.questions.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = answer(&question, shared) {
            let bytes = answer.to_vec().expect("what was made here can be written");
            // Who asked may be gone.
            let _ = socket.send_to(&bytes, from);
        }
    }
}

fn answer(question: &Message, shared: &Shared) -> Option<Message> {
    let query = question.queries.first()?;
    let name = query.name().to_ascii().to_ascii_lowercase();
    let said = shared.said().get(name.trim_end_matches('.')).cloned().unwrap_or(Said::NoName);
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    answer.metadata.response_code = match &said {
        Said::Silence => return None,
        Said::NoName => ResponseCode::NXDomain,
        Said::Failure => ResponseCode::ServFail,
        Said::Refusal => ResponseCode::Refused,
        Said::Addresses(..) | Said::Targets(..) | Said::Nothing => ResponseCode::NoError,
    };
    answer.add_answers(records(query, &said));
    Some(answer)
}

fn records(query: &Query, said: &Said) -> Vec<Record> {
    let record = |ttl: u32, data: RData| Record::from_rdata(query.name().clone(), ttl, data);
    match said {
        Said::Addresses(all, ttl) => {
            let data = all.iter().filter_map(|ip| match (ip, query.query_type()) {
                (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(*ip))),
                (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(*ip))),
                _ => None,
            });
            data.map(|data| record(*ttl, data)).collect()
        }
        Said::Targets(all, ttl) if query.query_type() == RecordType::SRV => {
            let data = all.iter().map(|(priority, weight, port, host)| {
                let host = Name::from_ascii(format!("{host}.")).expect("a name of DNS");
                RData::SRV(SRV::new(*priority, *weight, *port, host))
            });
            data.map(|data| record(*ttl, data)).collect()
        }
        Said::Targets(..) | Said::Nothing | Said::NoName | Said::Failure | Said::Refusal | Said::Silence => Vec::new(),
    }
}
