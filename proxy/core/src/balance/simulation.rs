//! What users of a pool get from each balancer, in virtual time: ten endpoints that answer eight requests at once and queue
//! the rest, requests that arrive by chance, service times that are mostly short. Printed; run it with `--no-capture`.

#![allow(clippy::print_stdout)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluice_config::validated::{self, HashKey};

use super::maglev::Table;
use super::turns::Turns;
use super::{Balancer, Crowd};
use crate::fixture::start;
use crate::latency::{DECAY, Latency};

const ENDPOINTS: usize = 10;
const SLOTS: usize = 8;
const REQUESTS: usize = 40_000;
const SEED: u64 = 5;
const MILLI: f64 = 1e6;

/// What is wrong with the endpoints.
#[derive(Clone, Copy)]
struct Trouble {
    name: &'static str,
    /// Times longer that the first endpoint takes.
    slow: f64,
    /// How long an endpoint stands still, every two seconds on average.
    pause: f64,
    /// Requests a millisecond.
    rate: f64,
}

#[derive(Default)]
struct Origin {
    queue: VecDeque<f64>,
    busy: usize,
    latency: Latency,
    pauses: Vec<(f64, f64)>,
}

struct World {
    origins: Vec<Origin>,
    start: Instant,
    now: f64,
}

impl Crowd for World {
    fn may(&self, _: usize) -> bool {
        true
    }
    fn in_flight(&self, at: usize) -> u32 {
        (self.origins[at].busy + self.origins[at].queue.len()) as u32
    }
    fn latency(&self, at: usize) -> Option<Duration> {
        self.origins[at].latency.read(DECAY, self.instant())
    }
    fn again(&self) -> bool {
        false
    }
    fn total(&self) -> u64 {
        (0..self.origins.len()).map(|at| u64::from(self.in_flight(at))).sum()
    }
}

fn unit(rng: &mut StdRng) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn exponential(mean: f64, rng: &mut StdRng) -> f64 {
    -mean * unit(rng).ln()
}

/// Mean 10 ms; one in twenty takes seven times as long as the others.
fn service(rng: &mut StdRng) -> f64 {
    let mean = if unit(rng) < 0.05 { 54.0 } else { 7.7 };
    exponential(mean * MILLI, rng)
}

impl World {
    fn new(trouble: Trouble, rng: &mut StdRng) -> Self {
        let mut origins: Vec<Origin> = (0..ENDPOINTS).map(|_| Origin::default()).collect();
        let end = REQUESTS as f64 / trouble.rate * MILLI;
        for origin in origins.iter_mut().filter(|_| trouble.pause > 0.0) {
            let mut at = exponential(2000.0 * MILLI, rng);
            while at < end {
                origin.pauses.push((at, at + trouble.pause * MILLI));
                at += trouble.pause * MILLI + exponential(2000.0 * MILLI, rng);
            }
        }
        Self { origins, start: start(), now: 0.0 }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now as u64)
    }

    /// When work of this length that begins now ends.
    fn end(&self, at: usize, work: f64) -> f64 {
        let (mut end, from) = (self.now + work, self.now);
        for (begin, until) in &self.origins[at].pauses {
            if *until > from && *begin < end {
                end += until - begin.max(from);
            }
        }
        end
    }
}

/// Sorted times from arrival to answer, in milliseconds.
fn run(document: &validated::Balancer, trouble: Trouble) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut world = World::new(trouble, &mut rng);
    let names: Vec<[u8; 1]> = (0..ENDPOINTS as u8).map(|at| [at]).collect();
    let led = matches!(document, validated::Balancer::Maglev { .. });
    let table = led.then(|| Table::build(names.iter().map(|name| (&name[..], 1))).into());
    let mut balancer = Balancer::new(document, table.as_ref());
    balancer.fit(&[1000; ENDPOINTS], &mut rng);
    let (mut ends, mut times) = (BinaryHeap::new(), Vec::new());
    let mut next = 0.0;
    for _ in 0..REQUESTS {
        next += exponential(MILLI / trouble.rate, &mut rng);
        advance(&mut world, &mut ends, &mut times, next, trouble, &mut rng);
        world.now = next;
        let key = led.then(|| rng.next_u64());
        let at = balancer.pick(&world, key, &mut rng).unwrap().at;
        world.origins[at].queue.push_back(next);
        begin(&mut world, &mut ends, at, trouble, &mut rng);
    }
    advance(&mut world, &mut ends, &mut times, f64::MAX, trouble, &mut rng);
    times.sort_unstable_by(f64::total_cmp);
    times
}

type Ends = BinaryHeap<Reverse<(u64, usize, u64)>>;

fn begin(world: &mut World, ends: &mut Ends, at: usize, trouble: Trouble, rng: &mut StdRng) {
    if world.origins[at].busy < SLOTS
        && let Some(arrived) = world.origins[at].queue.pop_front()
    {
        world.origins[at].busy += 1;
        let work = service(rng) * if at == 0 { trouble.slow } else { 1.0 };
        ends.push(Reverse((world.end(at, work) as u64, at, arrived as u64)));
    }
}

fn advance(world: &mut World, ends: &mut Ends, times: &mut Vec<f64>, until: f64, trouble: Trouble, rng: &mut StdRng) {
    while let Some(Reverse((end, at, arrived))) = ends.peek().copied().filter(|end| (end.0.0 as f64) < until) {
        ends.pop();
        world.now = end as f64;
        times.push((end - arrived) as f64 / MILLI);
        world.origins[at].busy -= 1;
        world.origins[at].latency.note(Duration::from_nanos(end - arrived), DECAY, world.instant());
        begin(world, ends, at, trouble, rng);
    }
}

fn balancers() -> Vec<(&'static str, validated::Balancer)> {
    let peak = validated::Balancer::PeakEwma { decay: DECAY, failure_penalty: Duration::from_secs(5) };
    let maglev = |bound| validated::Balancer::Maglev { key: HashKey::Path, bounded_load: bound };
    vec![
        ("round_robin", validated::Balancer::RoundRobin),
        ("random", validated::Balancer::Random),
        ("least_request", validated::Balancer::LeastRequest { choices: 2 }),
        ("least_request 5", validated::Balancer::LeastRequest { choices: 5 }),
        ("peak_ewma", peak),
        ("maglev", maglev(None)),
        ("maglev 125%", maglev(sluice_config::percentage::Percentage::new(125))),
    ]
}

fn measure(trouble: Trouble) -> Vec<[f64; 3]> {
    println!("{} ({REQUESTS} requests, seed {SEED}), ms at p50, p99, p99.9", trouble.name);
    let rows = balancers().into_iter().map(|(name, document)| {
        let times = run(&document, trouble);
        assert_eq!(times.len(), REQUESTS);
        let row = [0.5, 0.99, 0.999].map(|part| times[(part * times.len() as f64) as usize]);
        println!("{name:>16}  {:8.1} {:8.1} {:8.1}", row[0], row[1], row[2]);
        row
    });
    rows.collect()
}

/// Whoever looks at load beats turns where one endpoint in ten is slow; whoever looks at time, too. Fails if loads or latencies
/// are not compared.
#[test]
fn load_and_latency_beat_turns_with_a_slow_endpoint() {
    let rows =
        measure(Trouble { name: "one endpoint in ten takes ten times as long", slow: 10.0, pause: 0.0, rate: 0.75 });
    let [turns, least, peak] = [rows[0], rows[2], rows[4]];
    assert!(least[1] < turns[1] && peak[1] < turns[1]);
    assert!(peak[1] < turns[1] / 2.0, "half the wait, and less");
}

#[test]
fn load_and_latency_beat_turns_with_pauses() {
    let rows = measure(Trouble { name: "each stands still for 200 ms every 2 s", slow: 1.0, pause: 200.0, rate: 3.0 });
    let [turns, least, peak] = [rows[0], rows[2], rows[4]];
    assert!(least[1] < turns[1] && peak[1] < turns[1]);
}

/// The most that any window of picks is off an endpoint's share, and the longest run of one endpoint.
fn smoothness(weights: &[f64], mut next: impl FnMut() -> usize) -> (f64, usize) {
    let total: f64 = weights.iter().sum();
    let (mut credit, mut low, mut high) =
        (vec![0.0_f64; weights.len()], vec![0.0_f64; weights.len()], vec![0.0_f64; weights.len()]);
    let picks: Vec<usize> = (0..10_000).map(|_| next()).collect();
    for picked in &picks {
        for at in 0..weights.len() {
            credit[at] += weights[at] / total - f64::from(u8::from(at == *picked));
            (low[at], high[at]) = (low[at].min(credit[at]), high[at].max(credit[at]));
        }
    }
    let error = high.iter().zip(&low).map(|(high, low)| high - low).fold(0.0, f64::max);
    (error, picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap())
}

/// nginx's smooth weighted round robin.
fn nginx(weights: &[f64]) -> impl FnMut() -> usize {
    let (weights, mut lead) = (weights.to_vec(), vec![0.0; weights.len()]);
    move || {
        lead.iter_mut().zip(&weights).for_each(|(lead, weight)| *lead += weight);
        let best = (0..lead.len()).rev().max_by(|a, b| lead[*a].total_cmp(&lead[*b])).unwrap();
        lead[best] -= weights.iter().sum::<f64>();
        best
    }
}

/// Envoy's scheduler: the earliest deadline, whether its stretch has started or not.
fn envoy(weights: &[f64]) -> impl FnMut() -> usize {
    let (weights, mut due): (Vec<f64>, Vec<f64>) =
        (weights.to_vec(), weights.iter().map(|weight| 1.0 / weight).collect());
    move || {
        let best = (0..due.len()).min_by(|a, b| due[*a].total_cmp(&due[*b])).unwrap();
        due[best] += 1.0 / weights[best];
        best
    }
}

/// No window is further off than with Envoy's, nor by a fifth more than with nginx's, which is O(n) for each pick; and no endpoint
/// gets more requests in a row than with either. With one heavy endpoint or among many.
#[test]
fn turns_are_smooth_beside_the_rules_of_peers() {
    let mut many = vec![1.0; 101];
    many[0] = 100.0;
    for weights in [vec![8.0, 1.0, 1.0], vec![5.0, 1.0, 1.0], vec![7.0, 5.0, 3.0, 2.0, 1.0], many] {
        let whole: Vec<u32> = weights.iter().map(|weight| *weight as u32).collect();
        let mut turns = Turns::default();
        turns.fit(&whole, &mut StdRng::seed_from_u64(SEED));
        let ours = smoothness(&weights, || turns.next(|_| true).unwrap());
        let (nginx, envoy) = (smoothness(&weights, nginx(&weights)), smoothness(&weights, envoy(&weights)));
        println!(
            "{} endpoints, the first {} of {}: window error and longest run: ours {ours:.2?}, nginx {nginx:.2?}, envoy {envoy:.2?}",
            weights.len(),
            weights[0],
            weights.iter().sum::<f64>()
        );
        assert!(ours.0 < 2.0 && ours.0 < envoy.0 && ours.0 < 1.2 * nginx.0);
        assert!(ours.1 <= nginx.1.min(envoy.1));
    }
}
