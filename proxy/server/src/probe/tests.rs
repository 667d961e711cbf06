use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use sluice_config::validated;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

fn check() -> HealthCheck {
    HealthCheck {
        http: validated::HttpProbe { path: "/healthz?full=1".to_owned(), host: None },
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        recovery_threshold: 2,
    }
}

fn endpoint(port: u16) -> Arc<Endpoint> {
    let id = EndpointId {
        service: "shop".parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "west".parse().unwrap(),
        address: ([127, 0, 0, 1], port).into(),
    };
    Arc::new(Endpoint::checked(id, Arc::default()))
}

/// One for all: a revision that changes nothing of it carries it over.
static REACH: LazyLock<Arc<Reach>> = LazyLock::new(|| {
    let connections = validated::Connections { idle: 1, idle_timeout: Duration::from_secs(1), streams: 1 };
    Arc::new(Reach::plain(connections))
});

fn target(endpoint: &Arc<Endpoint>) -> Target {
    Target { endpoint: Arc::clone(endpoint), check: check(), reach: Arc::clone(&REACH) }
}

/// What a probe by HTTP finds there.
async fn ask_http(address: SocketAddr, check: HealthCheck) -> Verdict {
    let target = Target { check, ..target(&endpoint(address.port())) };
    HttpProbe::new().unwrap().probe(&target).await
}

/// What a scripted endpoint does to a probe.
#[derive(Clone, Copy)]
enum Act {
    Say(Verdict),
    Hang,
    Panic,
}

const GOOD: Act = Act::Say(Verdict::Good);
const BAD: Act = Act::Say(Verdict::Bad(Cause::Status(503)));

/// Tells each probe as it begins, and acts by the script; after its end: good.
struct Scripted {
    script: Mutex<BTreeMap<u16, Vec<Act>>>,
    begun: mpsc::UnboundedSender<(u16, Instant)>,
}

impl Probe for Scripted {
    async fn probe(&self, target: &Target) -> Verdict {
        let address = target.endpoint.id().address;
        self.begun.send((address.port(), Instant::now())).unwrap();
        let act = self
            .script
            .lock()
            .unwrap()
            .get_mut(&address.port())
            .and_then(|acts| (!acts.is_empty()).then(|| acts.remove(0)));
        match act.unwrap_or(GOOD) {
            Act::Say(verdict) => {
                // So that whoever was told sees the endpoint as it was before.
                tokio::time::sleep(Duration::from_millis(1)).await;
                verdict
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("as the script says"),
        }
    }
}

fn scripted(script: &[(u16, &[Act])]) -> (Prober<Scripted>, mpsc::UnboundedReceiver<(u16, Instant)>, Metrics) {
    let (begun, probes) = mpsc::unbounded_channel();
    let script = script.iter().map(|(port, acts)| (*port, acts.to_vec())).collect();
    let metrics = Metrics::new(1, 1000);
    (Prober::with(Scripted { script: Mutex::new(script), begun }, metrics.clone()), probes, metrics)
}

/// The standings of the endpoint as each of the next probes begins.
async fn standings(
    endpoint: &Endpoint,
    probes: &mut mpsc::UnboundedReceiver<(u16, Instant)>,
    count: usize,
) -> Vec<Standing> {
    let mut seen = Vec::new();
    for _ in 0..count {
        probes.recv().await.unwrap();
        seen.push(endpoint.standing());
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn out_after_the_third_bad_probe_and_back_after_the_second_good_one() {
    use Standing::{Out, Unprobed, Verified};
    let (mut prober, mut probes, metrics) =
        scripted(&[(1, &[GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD])]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)]);
    assert_eq!(
        standings(&one, &mut probes, 12).await,
        [Unprobed, Verified, Verified, Verified, Verified, Verified, Verified, Out, Out, Out, Out, Verified]
    );
    let text = metrics.text();
    for line in [
        r#"sluice_probes_total{service="shop",version="v1",region="west",result="status"} 6"#,
        r#"sluice_probes_total{service="shop",version="v1",region="west",result="good"} 5"#,
        r#"sluice_health_transitions_total{service="shop",version="v1",region="west",to="out"} 1"#,
        r#"sluice_health_transitions_total{service="shop",version="v1",region="west",to="verified"} 2"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_is_bad_and_the_next_one_is_on_time() {
    let (mut prober, mut probes, metrics) = scripted(&[(1, &[Act::Hang, Act::Hang, Act::Hang])]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)]);
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(probes.recv().await.unwrap().1);
    }
    assert_eq!(one.standing(), Standing::Out);
    assert!(metrics.text().contains("result=\"timeout\"} 3"));
    for pair in times.windows(2) {
        let apart = (pair[1] - pair[0]).as_millis();
        assert!((4500..=5501).contains(&apart), "the starts are {apart} ms apart");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_costs_one_verdict() {
    let (mut prober, mut probes, metrics) = scripted(&[(1, &[Act::Panic, GOOD])]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)]);
    assert_eq!(standings(&one, &mut probes, 3).await.last(), Some(&Standing::Verified));
    assert!(metrics.text().contains("result=\"malformed\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn removed_endpoints_are_no_longer_probed() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let (one, two) = (endpoint(1), endpoint(2));
    prober.retarget(vec![target(&one), target(&two)]);
    standings(&one, &mut probes, 6).await;
    prober.retarget(vec![target(&two)]);
    while probes.try_recv().is_ok() {}
    for _ in 0..10 {
        assert_eq!(probes.recv().await.unwrap().0, 2);
    }
    drop(prober);
    assert_eq!(probes.recv().await, None, "all loops have ended with their prober");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_still_wanted_is_not_disturbed() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)]);
    let (_, first) = probes.recv().await.unwrap();
    // Far more often than a loop that starts over could ever be late enough to go unnoticed.
    for _ in 0..40 {
        tokio::time::advance(Duration::from_millis(100)).await;
        prober.retarget(vec![target(&one)]);
    }
    let (_, second) = probes.recv().await.unwrap();
    assert!(second - first >= Duration::from_millis(4500), "{:?}", second - first);
}

#[tokio::test(start_paused = true)]
async fn another_check_or_another_state_starts_over() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)]);
    let (_, first) = probes.recv().await.unwrap();
    let mut changed = target(&one);
    changed.check.failure_threshold = 4;
    prober.retarget(vec![changed]);
    let (_, second) = probes.recv().await.unwrap();
    assert!(second - first <= Duration::from_millis(501), "{:?}", second - first);
    let reborn = endpoint(1);
    prober.retarget(vec![target(&reborn)]);
    let (_, third) = probes.recv().await.unwrap();
    assert!(third - second <= Duration::from_millis(501), "{:?}", third - second);
    probes.recv().await.unwrap();
    assert_eq!(reborn.standing(), Standing::Verified);
}

#[tokio::test(start_paused = true)]
async fn first_probes_are_soon_and_later_ones_drift_apart() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let endpoints: Vec<_> = (1..=50).map(endpoint).collect();
    let start = Instant::now();
    prober.retarget(endpoints.iter().map(target).collect());
    let mut times = BTreeMap::<u16, Vec<Instant>>::new();
    while times.len() < 50 || times.values().any(|of_one| of_one.len() < 3) {
        let (port, at) = probes.recv().await.unwrap();
        times.entry(port).or_default().push(at);
    }
    let first: Vec<_> = times.values().map(|of_one| (of_one[0] - start).as_millis()).collect();
    assert!(first.iter().all(|at| *at <= 501), "{first:?}");
    let distinct = first.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct > 25, "{distinct} of 50 begin at moments of their own");
    let gaps: std::collections::BTreeSet<_> =
        times.values().map(|of_one| (of_one[2] - of_one[1]).as_millis()).collect();
    assert!(gaps.len() > 25 && gaps.iter().all(|gap| (4500..=5501).contains(gap)), "{gaps:?}");
}

#[test]
fn reasons_are_told_in_words() {
    assert_eq!(describe(Reason::Failed(3, Cause::Status(503))), "bad probes in a row: 3, the last: status 503");
    assert_eq!(describe(Reason::Failed(3, Cause::Refused)), "bad probes in a row: 3, the last: refused");
    assert_eq!(describe(Reason::Recovered(2)), "good probes in a row: 2");
}

/// Takes one connection, reads a head, sends `answer` and closes; answers with the head and the address.
async fn origin(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, served)
}

async fn probed(answer: &'static [u8]) -> Verdict {
    let (address, _served) = origin(answer).await;
    ask_http(address, check()).await
}

#[tokio::test]
async fn answers_are_judged_by_their_final_status() {
    let bad = |status| Verdict::Bad(Cause::Status(status));
    for (answer, verdict) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], Verdict::Good),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Verdict::Good),
        (b"HTTP/1.0 299 Odd\r\n\r\nto the end", Verdict::Good),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Verdict::Good),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", bad(503)),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", bad(302)),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", bad(404)),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", bad(101)),
    ] {
        assert_eq!(probed(answer).await, verdict, "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    for (answer, cause) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], Cause::Malformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n", Cause::Malformed),
        (b"", Cause::Reset),
        (b"HTTP/1.1 200 O", Cause::Reset),
    ] {
        assert_eq!(probed(answer).await, Verdict::Bad(cause), "{}", answer.escape_ascii());
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(ask_http(free, check()).await, Verdict::Bad(Cause::Refused));
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (address, served) = origin(answer).await;
    assert_eq!(ask_http(address, check()).await, Verdict::Good);
    let agent = concat!("sluice-probe/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        served.await.unwrap(),
        format!("GET /healthz?full=1 HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
    );
    let (address, served) = origin(answer).await;
    let mut named = check();
    named.http.host = Some("shop.internal".to_owned());
    assert_eq!(ask_http(address, named).await, Verdict::Good);
    assert!(served.await.unwrap().contains("\r\nHost: shop.internal\r\n"));
}

#[tokio::test]
async fn a_real_origin_is_verified_by_the_loop() {
    let (address, served) = origin(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let one = endpoint(address.port());
    let mut quick = target(&one);
    quick.check.interval = Duration::from_millis(500);
    let mut prober = Prober::new(Metrics::new(1, 1000)).unwrap();
    prober.retarget(vec![quick]);
    served.await.unwrap();
    let verified = async {
        while one.standing() != Standing::Verified {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), verified).await.unwrap();
}
