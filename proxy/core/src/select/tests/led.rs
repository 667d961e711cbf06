//! What leads a request to some of the endpoints: the own zone, a session, a key.

use sluice_config::validated::{Balancer, HashKey, OVERPROVISIONING, Session, Zones};

use super::*;
use crate::service::Obstacle;

fn zoned(worker: &mut Worker, near: usize) {
    let zone = |name: &str| Some(name.parse().unwrap());
    let members = worker.service.pools[0].iter_mut().enumerate();
    members.for_each(|(at, member)| member.zone = if at < near { zone("a") } else { zone(["b", "c"][at % 2]) });
    worker.selector = Selector::new(&worker.service, zone("a").as_ref(), &mut worker.rng);
}

#[test]
fn the_own_zone_is_preferred_and_spills_in_proportion() {
    let document = validated::Service {
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 4 }),
        ..shop(true, vec![version("v1", 1, &[(0, 12)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 4);
    let counts = |worker: &mut Worker| {
        let mut counts = [0; 12];
        for _ in 0..1000 {
            let choice = worker.choose(&ask()).unwrap();
            assert_eq!(choice.endpoint == pick::Reason::OtherZone, choice.spot.endpoint >= 4);
            counts[choice.spot.endpoint] += 1;
        }
        counts
    };
    assert_eq!(counts(&mut worker)[..4], [250; 4], "all of it stays");
    let own = "a".parse().unwrap();
    let explained = worker.service.explain(Capability::Read, None, Some(&own));
    assert_eq!((explained[0].obstacle, explained[4].obstacle), (None, Some(Obstacle::Zone)));
    let lose = |worker: &Worker, at: usize| {
        (0..3).for_each(|_| {
            worker.service.pool(0, 0)[at].endpoint.step(verdict(false), &POLICY);
        });
    };
    (0..2).for_each(|at| lose(&worker, at));
    let half = counts(&mut worker);
    assert_eq!(half[..4].iter().sum::<i32>(), 700, "half of it, times 140 %");
    assert!(half[4..].iter().all(|count| (36..=39).contains(count)), "{half:?}");
    assert_eq!(worker.service.explain(Capability::Read, None, Some(&own))[4].obstacle, None);
    fill(&worker, 0, 0, Some(0));
    worker.service.pool(0, 0)[7].endpoint.set_cap(None);
    assert_eq!(worker.choose(&ask()).unwrap().spot.endpoint, 7, "a zone without room takes nothing");
    (2..4).for_each(|at| lose(&worker, at));
    fill(&worker, 0, 0, None);
    assert_eq!(counts(&mut worker)[..4], [0; 4]);
}

#[test]
fn a_zone_with_too_few_endpoints_is_not_preferred() {
    let document = validated::Service {
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 4 }),
        ..shop(true, vec![version("v1", 1, &[(0, 12)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 3);
    let near = (0..1200).filter(|_| worker.choose(&ask()).unwrap().spot.endpoint < 3).count();
    assert_eq!(near, 300);
}

/// A user with a session stays, through probes, zones and swaps, and returns.
#[test]
fn a_session_stays_with_its_endpoint() {
    let document = validated::Service {
        session: Some(Session { cookie: "s".to_owned(), max_age: None }),
        zones: Some(Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 1 }),
        ..shop(true, vec![version("v1", 1, &[(0, 6)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    zoned(&mut worker, 3);
    let (_, registry) = compile(&regions(), &document, &worker.registry);
    let spots = |worker: &mut Worker| {
        (0..200_u32)
            .map(|key| worker.choose(&Ask { key: Some(&key.to_le_bytes()), ..ask() }).unwrap())
            .collect::<Vec<_>>()
    };
    let before = spots(&mut worker);
    assert!(before.iter().all(|choice| choice.endpoint == pick::Reason::Key && choice.spot.endpoint < 3));
    let lost = &worker.service.pool(0, 0)[0].endpoint;
    (0..3).for_each(|_| {
        lost.step(verdict(false), &POLICY);
    });
    let lost = Arc::clone(lost);
    let during = spots(&mut worker);
    for (before, during) in before.iter().zip(&during) {
        assert!(
            before.spot.endpoint == 0
                || during.spot.endpoint == before.spot.endpoint
                || during.endpoint == pick::Reason::OtherZone
        );
    }
    (0..2).for_each(|_| {
        lost.step(verdict(true), &POLICY);
    });
    assert_eq!(spots(&mut worker), before);
    let next = Service::after(Some(&worker.service), &regions(), &document, &registry);
    assert!(Arc::ptr_eq(next.tables[0].as_ref().unwrap(), worker.service.tables[0].as_ref().unwrap()));
}

#[test]
fn a_request_without_a_key_is_led_nowhere() {
    let document = validated::Service {
        balancer: Balancer::Maglev { key: HashKey::Path, bounded_load: None },
        ..shop(true, vec![version("v1", 1, &[(0, 3)])])
    };
    let mut worker = Worker::new(&regions(), &document, 1);
    let seen: std::collections::BTreeSet<_> = (0..100).map(|_| worker.choose(&ask()).unwrap().spot).collect();
    assert_eq!(seen.len(), 3);
    assert_eq!(worker.choose(&ask()).unwrap().endpoint, pick::Reason::Verified);
}
