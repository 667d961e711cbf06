use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use sluice_config::{Environment, Validated};
use tokio::sync::mpsc;

use super::*;

mod wire;

/// A document whose only service has these lines, and an endpoint on each of these ports.
fn document(service: &str, ports: &[u16]) -> Validated {
    let endpoints: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let text = format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:2\" }}]\nservices:\n- name: shop\n  endpoints: [{}]\n{service}\nroutes: [{{ service: shop }}]\n",
        endpoints.join(", ")
    );
    sluice_config::validate(&text, &Environment::empty()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// The health check of these lines.
fn check_of(lines: &str) -> HealthCheck {
    document(&format!("  health_check: {lines}"), &[1]).services[0].health_check.clone().unwrap()
}

fn check() -> HealthCheck {
    check_of("{ http: { path: \"/healthz?full=1\" } }")
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
    let document = document("", &[1]);
    Reach::all(&document, std::path::Path::new("/"), None).unwrap().remove(0)
});

fn target(endpoint: &Arc<Endpoint>) -> Target {
    with_check(endpoint, check())
}

fn with_check(endpoint: &Arc<Endpoint>, check: HealthCheck) -> Target {
    Target { endpoint: Arc::clone(endpoint), check: Arc::new(check), reach: Arc::clone(&REACH) }
}

/// What a scripted endpoint does to a probe.
#[derive(Clone, Copy)]
enum Act {
    Say(Finding),
    Hang,
    Panic,
}

const GOOD: Act = Act::Say(Finding::good());
const BAD: Act = Act::Say(Finding::bad(Cause::Status(503)));

/// Tells each probe as it begins, and acts by the script; after its end: good.
struct Scripted {
    script: Mutex<BTreeMap<u16, Vec<Act>>>,
    begun: mpsc::UnboundedSender<(u16, Instant)>,
}

impl Probe for Scripted {
    async fn probe(&self, target: &Target) -> Finding {
        let address = target.endpoint.id().address;
        self.begun.send((address.port(), Instant::now())).unwrap();
        let act = self
            .script
            .lock()
            .unwrap()
            .get_mut(&address.port())
            .and_then(|acts| (!acts.is_empty()).then(|| acts.remove(0)));
        match act.unwrap_or(GOOD) {
            Act::Say(finding) => {
                // So that whoever was told sees the endpoint as it was before.
                tokio::time::sleep(Duration::from_millis(1)).await;
                finding
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
    prober.retarget(vec![target(&one)], None);
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
    prober.retarget(vec![target(&one)], None);
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(probes.recv().await.unwrap().1);
    }
    assert_eq!(one.standing(), Standing::Out);
    assert!(metrics.text().contains("result=\"timeout\"} 3"));
    // In doubt it is asked every two seconds, and once it is out every five.
    let apart: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    let is_soon = |apart: &u128| (2000..=2201).contains(apart);
    assert!(is_soon(&apart[0]) && is_soon(&apart[1]) && (4500..=5501).contains(&apart[2]), "{apart:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_costs_one_verdict() {
    let (mut prober, mut probes, metrics) = scripted(&[(1, &[Act::Panic, GOOD])]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)], None);
    assert_eq!(standings(&one, &mut probes, 3).await.last(), Some(&Standing::Verified));
    assert!(metrics.text().contains("result=\"malformed\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn removed_endpoints_are_no_longer_probed() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let (one, two) = (endpoint(1), endpoint(2));
    prober.retarget(vec![target(&one), target(&two)], None);
    standings(&one, &mut probes, 6).await;
    prober.retarget(vec![target(&two)], None);
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
    prober.retarget(vec![target(&one)], None);
    let (_, first) = probes.recv().await.unwrap();
    // Far more often than a loop that starts over could ever be late enough to go unnoticed.
    for _ in 0..40 {
        tokio::time::advance(Duration::from_millis(100)).await;
        prober.retarget(vec![target(&one)], None);
    }
    let (_, second) = probes.recv().await.unwrap();
    assert!(second - first >= Duration::from_millis(4500), "{:?}", second - first);
}

#[tokio::test(start_paused = true)]
async fn another_check_or_another_state_starts_over() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let one = endpoint(1);
    prober.retarget(vec![target(&one)], None);
    let (_, first) = probes.recv().await.unwrap();
    let changed = HealthCheck { failure_threshold: 4, ..check() };
    prober.retarget(vec![with_check(&one, changed)], None);
    let (_, second) = probes.recv().await.unwrap();
    assert!(second - first <= Duration::from_millis(501), "{:?}", second - first);
    let reborn = endpoint(1);
    prober.retarget(vec![target(&reborn)], None);
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
    prober.retarget(endpoints.iter().map(target).collect(), None);
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

#[tokio::test(start_paused = true)]
async fn a_verified_endpoint_without_traffic_is_asked_later() {
    let (mut prober, mut probes, _) = scripted(&[(1, &[GOOD, GOOD, GOOD, BAD])]);
    let one = endpoint(1);
    let lines = "{ tcp: {}, interval: 1s, timeout: 1s, interval_in_doubt: 1s, interval_without_traffic: 1m }";
    prober.retarget(vec![with_check(&one, check_of(lines))], None);
    let mut times = Vec::new();
    for probe in 0..6 {
        times.push(probes.recv().await.unwrap().1);
        if probe == 1 {
            drop(one.begin());
        }
    }
    let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    let idle = |gap: u128| (54_000..=66_001).contains(&gap);
    let usual = |gap: u128| (900..=1_101).contains(&gap);
    // Idle; a request between; idle; a bad probe, which is in doubt; idle.
    assert!(idle(gaps[0]) && usual(gaps[1]) && idle(gaps[2]) && usual(gaps[3]) && idle(gaps[4]), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_holds_and_everybody_waits_alike() {
    let (mut prober, mut probes, metrics) = scripted(&[]);
    let endpoints: Vec<_> = (1..=100).map(endpoint).collect();
    let every_second = check_of("{ tcp: {}, interval: 1s, timeout: 500ms }");
    let targets = || endpoints.iter().map(|one| with_check(one, every_second.clone())).collect();
    prober.retarget(targets(), Some(20));
    let mut times = Vec::new();
    let mut each = BTreeMap::<u16, u32>::new();
    while times.len() < 1_000 {
        let (port, at) = probes.recv().await.unwrap();
        times.push(at);
        *each.entry(port).or_default() += 1;
    }
    for (at, begun) in times.iter().enumerate() {
        let within = times[at..].iter().take_while(|other| **other < *begun + Duration::from_secs(1)).count();
        assert!(within <= 20, "{within} in one second");
    }
    let took = (times[999] - times[0]).as_secs_f64();
    assert!((49.0..51.0).contains(&took), "the ceiling is reached: {took} s");
    assert!(each.len() == 100 && each.values().all(|count| (9..=11).contains(count)), "{each:?}");
    let delayed = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("sluice_probes_delayed_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert!(delayed(&metrics.text()) > 900, "{}", delayed(&metrics.text()));
    prober.retarget(targets(), None);
    let before = probes.recv().await.unwrap().1;
    for _ in 0..200 {
        probes.recv().await.unwrap();
    }
    assert!(probes.recv().await.unwrap().1 - before < Duration::from_secs(4), "without a ceiling nobody waits");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_no_longer_leave_no_gap() {
    let (mut prober, mut probes, _) = scripted(&[]);
    let many: Vec<_> = (1..=200).map(endpoint).collect();
    prober.retarget(many.iter().map(target).collect(), Some(1));
    probes.recv().await.unwrap();
    // All of them are in the queue.
    tokio::time::advance(Duration::from_secs(2)).await;
    prober.retarget(vec![target(&endpoint(300))], Some(1));
    let began = Instant::now();
    while probes.recv().await.unwrap().0 != 300 {}
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_word_holds_until_it_is_said_again_or_nobody_asks_for_it() {
    let say = |word| Act::Say(Finding { word, ..Finding::good() });
    let acts = [say(Some(Word::Weight(250))), say(None), say(Some(Word::Drain)), BAD, say(Some(Word::Weight(10)))];
    let (mut prober, mut probes, _) = scripted(&[(1, &acts)]);
    let one = endpoint(1);
    let agent = |agent| with_check(&one, HealthCheck { agent, ..check() });
    prober.retarget(vec![agent(true)], None);
    let mut seen = Vec::new();
    for _ in 0..6 {
        probes.recv().await.unwrap();
        seen.push(one.view(Instant::now().into_std()).advice);
    }
    let advice = |level, draining| Advice { level, draining };
    let drain = advice(1000, true);
    assert_eq!(seen, [Advice::default(), advice(250, false), advice(250, false), drain, drain, advice(10, false)]);
    prober.retarget(vec![agent(true)], None);
    assert_eq!(one.view(Instant::now().into_std()).advice, advice(10, false));
    prober.retarget(vec![agent(false)], None);
    assert_eq!(one.view(Instant::now().into_std()).advice, Advice::default());
}

/// Two bad probes by one question and one by another are not three in a row; under another threshold they are.
#[tokio::test(start_paused = true)]
async fn streaks_are_kept_while_the_same_is_asked() {
    let elsewhere = HealthCheck { port: Some(9), ..check() };
    for (changed, expected) in
        [(HealthCheck { recovery_threshold: 9, ..check() }, Standing::Out), (elsewhere, Standing::Verified)]
    {
        let (mut prober, mut probes, _) = scripted(&[(1, &[GOOD, BAD, BAD, BAD])]);
        let one = endpoint(1);
        prober.retarget(vec![target(&one)], None);
        standings(&one, &mut probes, 3).await;
        // The third probe, the second bad one, is over.
        tokio::time::advance(Duration::from_millis(10)).await;
        tokio::task::yield_now().await;
        prober.retarget(vec![with_check(&one, changed)], None);
        assert_eq!(standings(&one, &mut probes, 2).await.last(), Some(&expected));
    }
}

#[test]
fn the_usual_policy_is_that_of_the_document() {
    assert_eq!(Policy::from(&check_of("{ tcp: {} }")), Policy::default());
}

#[test]
fn reasons_are_told_in_words() {
    assert_eq!(describe(Reason::Failed(3, Cause::Status(503))), "bad probes in a row: 3, the last: status 503");
    assert_eq!(describe(Reason::Failed(3, Cause::Refused)), "bad probes in a row: 3, the last: refused");
    assert_eq!(describe(Reason::Recovered(2)), "good probes in a row: 2");
    let told = describe(Reason::Unsteady(6, Cause::Grpc(sluice_proxy_core::grpc::Code::Unavailable)));
    assert_eq!(told, "bad probes among the last 10: 6, the last: gRPC status UNAVAILABLE");
}
