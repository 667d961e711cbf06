use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_config::validated::Connections;
use sluice_proxy_core::endpoint::{Endpoint, EndpointId};
use sluice_proxy_core::outcome::Ending;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::session::Session;
use super::{Set, begin};
use crate::message::{Frame, RequestHead, ResponseHead};
use crate::metrics::Metrics;
use crate::side::{Answer, Sink, Source};
use crate::upstream::{Connector, Dialer, Peer, Reach};

const LIMIT: Duration = Duration::from_secs(2);

struct Stage {
    set: Rc<Set>,
    peer: Arc<Peer>,
    session: Rc<Session>,
    metrics: Metrics,
}

/// A session over one end of a pipe, whose other end is given to `serve`.
fn stage<F: Future<Output = ()> + 'static>(connections: Connections, serve: impl FnOnce(DuplexStream) -> F) -> Stage {
    let id = EndpointId {
        service: "shop".parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "west".parse().unwrap(),
        address: ([127, 0, 0, 1], 1).into(),
    };
    let endpoint = Arc::new(Endpoint::checked(id, Arc::default()));
    let peer = Arc::new(Peer::new(endpoint, Arc::new(Reach::plain(connections)), Arc::default()));
    let metrics = Metrics::new(1, 1000);
    let connector = Connector { dialer: Arc::new(Dialer::new().unwrap()), worker: 0, series: metrics.upstream() };
    let set = Set::new(&peer);
    let session = Session::new(&set, connector, connections);
    let (near, far) = tokio::io::duplex(1 << 20);
    spawn_local(Rc::clone(&session).run(async { Ok(near) }, LIMIT));
    spawn_local(serve(far));
    Stage { set, peer, session, metrics }
}

const fn connections(streams: u32) -> Connections {
    Connections { idle: 4, idle_timeout: Duration::from_secs(50), streams }
}

fn get() -> RequestHead {
    let mut head = RequestHead::new();
    head.set_target(b"/").unwrap();
    head.set_authority(b"test").unwrap();
    head
}

/// Serves by the `h2` crate: `answered` requests by 200, and then says that it takes no more.
async fn serve(io: DuplexStream, streams: u32, answered: usize) {
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(io).await.unwrap();
    let mut served = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        drop(respond.send_response(http::Response::new(()), true));
        served += 1;
        if served == answered {
            connection.graceful_shutdown();
        }
    }
}

/// Reads the preface, allows what is allowed by default and answers one PING.
async fn settle(io: &mut DuplexStream) {
    io.read_exact(&mut [0; 24]).await.unwrap();
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let (kind, payload) = frame(io).await;
        if kind == 6 {
            io.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
            return io.write_all(&payload).await.unwrap();
        }
    }
}

/// The kind and the payload of the next frame.
async fn frame(io: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    io.read_exact(&mut payload).await.unwrap();
    (head[3], payload)
}

async fn locally<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn a_burst_waits_for_one_connection_and_what_the_endpoint_does_not_allow_for_another() {
    locally(async {
        let stage = stage(connections(4), |io| serve(io, 2, usize::MAX));
        let mut slots: Vec<_> = (0..4).map(|_| stage.session.take().unwrap()).collect();
        assert!(stage.session.take().is_none(), "all four are taken");
        let mut admitted = Vec::new();
        for slot in &mut slots {
            admitted.push(slot.ready().await.unwrap());
        }
        assert_eq!(admitted, [true, true, false, false]);
        slots.truncate(2);
        assert!(stage.session.take().is_none(), "the endpoint allows two");
        slots.truncate(1);
        assert!(stage.session.take().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_told_to_end_takes_no_more_and_one_that_waits_is_counted() {
    locally(async {
        let stage = stage(connections(4), |io| serve(io, 10, 2));
        for kept in [false, true] {
            let mut slot = stage.session.take().unwrap();
            assert!(slot.ready().await.unwrap());
            assert_eq!(slot.kept, kept);
            let (mut answer, mut request) = begin(slot, &stage.peer, &get()).unwrap();
            request.end(None).await.unwrap();
            let mut head = ResponseHead::new();
            answer.head(&mut head).await.unwrap();
            assert_eq!(head.status, 200);
            assert!(matches!(answer.frame().await, Ok(Frame::End)));
            drop((answer, request));
            let idle = r#"sluice_upstream_connections{state="idle"} 1"#;
            // After the second answer the other end may have said already that it takes no more.
            assert!(kept || stage.metrics.text().contains(idle) && stage.session.is_idle());
        }
        let gone = async {
            while stage.session.take().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
        assert!(stage.session.is_over());
        assert!(stage.metrics.text().contains(r#"sluice_upstream_connections{state="idle"} 0"#));
    })
    .await;
}

#[tokio::test]
async fn no_more_wait_than_may_and_none_of_a_retired_endpoint() {
    locally(async {
        let none = Connections { idle: 0, ..connections(4) };
        let stage = stage(none, |io| serve(io, 10, usize::MAX));
        let mut slot = stage.session.take().unwrap();
        assert!(slot.ready().await.unwrap());
        drop(slot);
        assert!(stage.session.is_over(), "none may wait");
        let stage = self::stage(connections(4), |io| serve(io, 10, usize::MAX));
        let mut slot = stage.session.take().unwrap();
        assert!(slot.ready().await.unwrap());
        stage.peer.retire();
        stage.set.sweep(Instant::now());
        assert!(!stage.session.is_over(), "it is in use");
        drop(slot);
        assert!(stage.session.is_over());
    })
    .await;
}

#[tokio::test]
async fn what_does_not_begin_http2_is_no_connection() {
    locally(async {
        let stage = stage(connections(4), |mut io| async move {
            io.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            // Kept open, so that it is judged by what it says.
            std::future::pending::<()>().await;
            drop(io);
        });
        assert_eq!(stage.session.take().unwrap().ready().await, Err(Ending::ConnectFailed));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_never_begins_is_given_up_in_time() {
    locally(async {
        let begun = Instant::now();
        let stage = stage(connections(4), |io| async move {
            std::future::pending::<()>().await;
            drop(io);
        });
        assert_eq!(stage.session.take().unwrap().ready().await, Err(Ending::ConnectTimeout));
        assert_eq!(begun.elapsed(), LIMIT);
    })
    .await;
}

/// How a request ends that was sent when `last` comes in place of an answer.
async fn ended(last: &'static [u8]) -> (Ending, bool) {
    let stage = stage(connections(4), move |mut io| async move {
        settle(&mut io).await;
        while frame(&mut io).await.0 != 1 {}
        io.write_all(last).await.unwrap();
        // Closed by the peer, or here when it takes that for an end.
        while io.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0 && last.len() > 1) {}
    });
    let mut slot = stage.session.take().unwrap();
    assert!(slot.ready().await.unwrap());
    let (mut answer, _request) = begin(slot, &stage.peer, &get()).unwrap();
    let ending = answer.head(&mut ResponseHead::new()).await.unwrap_err();
    (ending, answer.untouched())
}

#[tokio::test]
async fn what_an_origin_did_not_look_at_is_as_good_as_not_sent() {
    locally(async {
        // GOAWAY without an error, which names no stream.
        let goaway = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(ended(goaway).await, (Ending::StalePooled, true));
        // RST_STREAM of stream 1: REFUSED_STREAM, then INTERNAL_ERROR.
        let refused = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
        assert_eq!(ended(refused).await, (Ending::StreamRefused, true));
        let failed = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(ended(failed).await, (Ending::ResetBeforeHead, false));
        // DATA before a head.
        let odd = &[0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(ended(odd).await, (Ending::BadHead, false));
        assert_eq!(ended(b"").await, (Ending::ResetBeforeHead, false));
    })
    .await;
}

/// Asked after 10 s of silence; given up 5 s later.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_other_end_has_vanished_is_given_up() {
    locally(async {
        let stage = stage(connections(4), |mut io| async move {
            settle(&mut io).await;
            while frame(&mut io).await.0 != 6 {}
            std::future::pending::<()>().await;
        });
        let mut slot = stage.session.take().unwrap();
        assert!(slot.ready().await.unwrap());
        let begun = Instant::now();
        let (mut answer, _request) = begin(slot, &stage.peer, &get()).unwrap();
        assert_eq!(answer.head(&mut ResponseHead::new()).await, Err(Ending::ResetBeforeHead));
        assert_eq!(begun.elapsed().as_secs(), 15);
        assert!(stage.session.is_over());
    })
    .await;
}

/// A stream that is silent for an hour gets 12 PINGs and stays.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_rarely_asked() {
    locally(async {
        let pings = Rc::new(std::cell::Cell::new(0));
        let counted = Rc::clone(&pings);
        let stage = stage(connections(4), |mut io| async move {
            settle(&mut io).await;
            loop {
                let (kind, payload) = frame(&mut io).await;
                if kind == 6 {
                    counted.set(counted.get() + 1);
                    io.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                    io.write_all(&payload).await.unwrap();
                }
            }
        });
        let mut slot = stage.session.take().unwrap();
        assert!(slot.ready().await.unwrap());
        let (mut answer, _request) = begin(slot, &stage.peer, &get()).unwrap();
        let mut head = ResponseHead::new();
        let answered = tokio::time::timeout(Duration::from_secs(3600), answer.head(&mut head)).await;
        assert!(answered.is_err(), "{answered:?}");
        assert_eq!(pings.get(), 12);
    })
    .await;
}
