use proptest::prelude::*;
use sluice_proxy_core::histogram::Histogram;

use super::*;

fn node(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1_000)
}

fn incarnation(bits: u64) -> Incarnation {
    Incarnation::from_bits(bits)
}

fn pool(service: &str, requests: u64, micros: &[u64]) -> PoolReport {
    let histogram = Histogram::default();
    micros.iter().for_each(|micros| histogram.record(*micros));
    PoolReport {
        service: service.parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "east".parse().unwrap(),
        classes: [0, requests, 0, 0, 0, 0],
        latency: histogram.buckets().collect(),
        latency_sum: histogram.sum_micros(),
        endpoints: 3,
        healthy: 2,
    }
}

fn report(sequence: u64, pools: Vec<PoolReport>) -> Report {
    Report { sequence, pools }
}

fn requests(totals: &Totals) -> u64 {
    totals.pools().iter().map(|pool| pool.requests).sum()
}

const TAKEN: Taken = Taken::Taken { dropped: 0 };

#[test]
fn the_newest_report_of_each_process_counts_once() {
    let mut totals = Totals::default();
    let mut take = |name: &str, bits, sequence, count| {
        let taken =
            totals.take(&node(name), incarnation(bits), &report(sequence, vec![pool("shop", count, &[])]), at(0));
        (taken, requests(&totals))
    };
    assert_eq!(take("a", 1, 1, 10), (TAKEN, 10));
    assert_eq!(take("a", 1, 1, 10), (Taken::Stale, 10));
    assert_eq!(take("b", 2, 5, 100), (TAKEN, 110));
    assert_eq!(take("a", 1, 4, 40), (TAKEN, 140));
    assert_eq!(take("a", 1, 3, 30), (Taken::Stale, 140));
    // A new process of a begins at 0; a late report of the old one is not a third.
    assert_eq!(take("a", 3, 1, 1), (TAKEN, 141));
    assert_eq!(take("a", 1, 5, 50), (Taken::Stale, 141));
    assert_eq!(take("a", 3, 2, 2), (TAKEN, 142));
}

#[test]
fn a_node_that_is_forgotten_leaves_its_counts() {
    let mut totals = Totals::default();
    totals.take(&node("a"), incarnation(1), &report(1, vec![pool("shop", 10, &[5])]), at(0));
    totals.forget(&node("a"));
    assert_eq!((requests(&totals), totals.numbers), (10, 0));
    totals.take(&node("a"), incarnation(2), &report(1, vec![pool("shop", 1, &[5])]), at(0));
    assert_eq!(requests(&totals), 11);
}

#[test]
fn a_pool_is_told_with_its_latencies_and_its_latest_health() {
    let mut totals = Totals::default();
    let ill = PoolReport { healthy: 0, ..pool("shop", 1, &[1_000_000]) };
    totals.take(&node("a"), incarnation(1), &report(1, vec![pool("shop", 3, &[10, 10, 10])]), at(0));
    totals.take(&node("b"), incarnation(2), &report(1, vec![ill]), at(1));
    let told = &totals.pools()[0];
    assert_eq!((told.requests, told.classes[1], told.endpoints, told.healthy), (4, 4, 3, 0));
    assert_eq!((told.latency.mean_us, told.latency.p50_us), (Some(1_000_030 / 4), Some(10)));
    assert!(told.latency.p99_us.unwrap().abs_diff(1_000_000) < 1_000_000 / 32);
    totals.take(&node("c"), incarnation(3), &report(1, vec![pool("cart", 0, &[])]), at(1));
    assert_eq!(totals.pools()[0].latency, Latency::default());
}

#[test]
fn a_bucket_that_is_none_and_a_count_that_fell_change_nothing() {
    let mut totals = Totals::default();
    let odd = PoolReport { latency: vec![(u16::MAX, 7), (3, 1), (3, 1)], ..pool("shop", 5, &[]) };
    totals.take(&node("a"), incarnation(1), &report(1, vec![odd.clone(), odd]), at(0));
    assert_eq!((requests(&totals), totals.pools()[0].latency.p99_us), (5, Some(3)));
    totals.take(&node("a"), incarnation(1), &report(2, vec![pool("shop", 1, &[])]), at(0));
    totals.take(&node("a"), incarnation(1), &report(3, vec![pool("shop", 6, &[])]), at(0));
    assert_eq!(requests(&totals), 6);
    totals.take(&node("a"), incarnation(1), &report(4, vec![pool("shop", u64::MAX, &[])]), at(0));
    totals.take(&node("b"), incarnation(2), &report(3, vec![pool("shop", u64::MAX, &[])]), at(0));
    assert_eq!(requests(&totals), u64::MAX);
}

#[test]
fn what_has_no_room_is_dropped_and_counted_until_there_is() {
    let mut totals = Totals::new(Bounds { pools: 2, numbers: 1_000 });
    let three = vec![pool("a", 1, &[]), pool("b", 1, &[]), pool("c", 1, &[])];
    let taken = totals.take(&node("n"), incarnation(1), &report(1, three), at(0));
    assert_eq!((taken, totals.dropped(), totals.pools().len()), (Taken::Taken { dropped: 1 }, 1, 2));
    // Nobody tells of a and b any more: they make room.
    let taken = totals.take(&node("n"), incarnation(2), &report(1, vec![pool("c", 7, &[])]), at(1));
    assert_eq!((taken, totals.pools().len(), requests(&totals)), (TAKEN, 1, 7));

    let mut totals = Totals::new(Bounds { pools: 10, numbers: 10 });
    let taken = totals.take(&node("n"), incarnation(1), &report(1, vec![pool("a", 3, &[1, 2, 3])]), at(0));
    assert_eq!(taken, Taken::Taken { dropped: 1 });
    let taken = totals.take(&node("n"), incarnation(1), &report(2, vec![pool("a", 3, &[1, 2])]), at(0));
    assert_eq!((taken, totals.numbers), (TAKEN, 10));
}

/// Three nodes that each answer `rate` requests a second and report every 5 seconds, not together.
fn run(totals: &mut Totals, from: u64, to: u64, rate: u64) {
    let shop = |seconds: u64| report(seconds, vec![pool("shop", seconds * rate, &[])]);
    for second in from..to {
        for (name, phase) in [("a", 0), ("b", 1), ("c", 3)] {
            if second % 5 == phase {
                totals.take(&node(name), incarnation(1), &shop(second), at(second));
            }
        }
    }
}

#[test]
fn a_steady_rate_is_told_as_it_is() {
    let shop = "shop".parse().unwrap();
    let mut totals = Totals::default();
    // From the middle of the proxies' lives: what they had counted before is no burst.
    run(&mut totals, 10_000, 10_100, 40);
    for over in [10, 30, 60] {
        let rate = totals.rate(&shop, Duration::from_secs(over), at(10_100)).unwrap();
        assert!((rate - 120.0).abs() < 1e-6, "{rate} over {over} s");
    }
    assert_eq!(totals.rate(&"cart".parse().unwrap(), Duration::from_secs(60), at(10_100)), None);
}

#[test]
fn a_gap_in_the_reports_is_no_burst_and_silence_is_no_traffic() {
    let shop = "shop".parse().unwrap();
    let minute = Duration::from_secs(60);
    let mut totals = Totals::default();
    run(&mut totals, 10_000, 10_050, 40);
    run(&mut totals, 10_700, 10_720, 40);
    let rate = totals.rate(&shop, minute, at(10_720)).unwrap();
    assert!((rate - 120.0).abs() < 1e-6, "{rate}");
    assert_eq!(totals.rate(&shop, minute, at(10_900)), Some(0.0));
}

#[test]
fn a_pool_that_gets_room_is_no_burst() {
    let mut totals = Totals::new(Bounds { pools: 1, numbers: 1_000 });
    totals.take(&node("a"), incarnation(1), &report(1, vec![pool("shop", 1, &[])]), at(0));
    totals.take(&node("b"), incarnation(2), &report(1, vec![pool("cart", 1_000_000, &[])]), at(0));
    totals.forget(&node("a"));
    totals.take(&node("b"), incarnation(2), &report(2, vec![pool("cart", 1_000_050, &[])]), at(5));
    totals.take(&node("b"), incarnation(2), &report(3, vec![pool("cart", 1_000_100, &[])]), at(10));
    assert_eq!((requests(&totals), totals.dropped()), (1_000_100, 1));
    assert_eq!(totals.rate(&"cart".parse().unwrap(), Duration::from_secs(60), at(15)), Some(10.0));
}

#[test]
fn a_rate_needs_a_time_that_every_node_has_told_of() {
    let shop = "shop".parse().unwrap();
    let mut totals = Totals::default();
    totals.take(&node("a"), incarnation(1), &report(9, vec![pool("shop", 1_000_000, &[])]), at(0));
    assert_eq!(totals.rate(&shop, SLOT, at(60)), None);
    totals.take(&node("a"), incarnation(1), &report(10, vec![pool("shop", 1_000_050, &[])]), at(5));
    assert_eq!(totals.rate(&shop, SLOT, at(5)), None);
    assert_eq!(totals.rate(&shop, SLOT, at(10)), Some(10.0));
}

/// What a process has counted after each of its reports: growing.
fn process() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..50_u64, 0..2_000_u64), 1..8).prop_map(|steps| {
        steps
            .into_iter()
            .scan((0, 0), |(requests, micros), (more, time)| {
                *requests += more;
                *micros += time;
                Some((*requests, *micros))
            })
            .collect()
    })
}

proptest! {
    /// Reports of several processes of two nodes, lost, repeated and reordered: the sum is that of the newest of each
    /// that came, at every moment, and never falls.
    #[test]
    fn the_sum_is_that_of_the_newest_reports(
        processes in prop::collection::vec((0..2_usize, process()), 1..6),
        order in prop::collection::vec((0..6_usize, 0..8_usize), 0..60),
    ) {
        let mut totals = Totals::default();
        let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
        let mut present: [Option<usize>; 2] = [None; 2];
        for (who, which) in order {
            let (who, which) = (who % processes.len(), which);
            let (name, counts) = &processes[who];
            let which = which % counts.len();
            // A node's processes come one after the other; a late report of one that has had a successor adds nothing.
            let late = newest.contains_key(&who) && present[*name] != Some(who);
            present[*name] = if late { present[*name] } else { Some(who) };
            let (requests, micros) = counts[which];
            let pool = PoolReport { latency: vec![(5, requests)], latency_sum: micros, ..pool("shop", requests, &[]) };
            let name = node(["a", "b"][*name]);
            let before = self::requests(&totals);
            let taken = totals.take(&name, incarnation(who as u64), &report(which as u64, vec![pool]), at(0));
            let is_newer = !late && newest.get(&who).is_none_or(|last| *last < which);
            prop_assert_eq!(taken == TAKEN, is_newer);
            if is_newer {
                newest.insert(who, which);
            }
            let sum: u64 = newest.iter().map(|(who, which)| processes[*who].1[*which].0).sum();
            let micros: u64 = newest.iter().map(|(who, which)| processes[*who].1[*which].1).sum();
            let told = &totals.pools()[0];
            prop_assert_eq!(told.requests, sum);
            prop_assert!(told.requests >= before);
            prop_assert_eq!(told.latency.mean_us, micros.checked_div(sum));
        }
    }

    /// Whatever is reported, no more is kept than there is room for, and what is kept is counted right.
    #[test]
    fn no_more_is_kept_than_there_is_room_for(
        reports in prop::collection::vec((0..3_usize, 0..4_u64, prop::collection::vec((0..6_usize, 0..9_u64), 0..5)), 0..40),
    ) {
        let bounds = Bounds { pools: 3, numbers: 40 };
        let mut totals = Totals::new(bounds);
        for (sequence, (who, bits, pools)) in reports.into_iter().enumerate() {
            let pools = pools.into_iter().map(|(service, count)| {
                let micros: Vec<u64> = (0..count).collect();
                pool(["a", "b", "c", "d", "e", "f"][service], count, &micros)
            });
            totals.take(&node(["x", "y", "z"][who]), incarnation(bits), &report(sequence as u64, pools.collect()), at(0));
            let cells: usize = totals.processes.values().flat_map(|one| one.cells.values()).map(Cell::numbers).sum();
            prop_assert_eq!(totals.numbers, cells);
            prop_assert!(totals.numbers <= bounds.numbers && totals.sums.len() <= bounds.pools);
            for (pool, sum) in &totals.sums {
                let tell = totals.processes.values().filter(|one| one.cells.contains_key(pool)).count();
                prop_assert_eq!(sum.processes, tell);
            }
        }
    }
}
