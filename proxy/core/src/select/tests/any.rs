//! Over any documents, swaps and probes.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Row {
    weight: u32,
    /// Endpoints in each of three regions.
    pools: [u16; 3],
}

prop_compose! {
    fn a_document()(
        rows in prop::collection::vec((prop_oneof![Just(0), 1_u32..100], prop::array::uniform3(0_u16..4)), 1..4),
        checked: bool,
        reversed: bool,
    ) -> validated::Service {
        let mut rows: Vec<(usize, Row)> = rows.into_iter().map(|(weight, pools)| Row { weight, pools }).enumerate().collect();
        rows[0].1.weight += 1;
        if reversed {
            rows.reverse();
        }
        let pools = |row: &Row| row.pools.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        shop(checked, rows.iter().map(|(at, row)| version(&format!("v{at}"), row.weight, &pools(row))).collect())
    }
}

proptest! {
    /// Over any documents, swaps and probes: what is chosen is in its pool, not out, of weight above 0, in a region
    /// that serves the capability, not tried before, verified where the pool has such; and explain says the same.
    #[test]
    fn every_choice_is_allowed(
        documents in prop::collection::vec((a_document(), prop::collection::vec((any::<u8>(), any::<bool>()), 0..30)), 1..6),
        write: bool,
        pin in prop::option::of(0_usize..4),
        seed: u64,
    ) {
        let regions: Arc<[Region]> = Arc::new([
            region("a", Role::Primary, 50, ALL), region("b", Role::Secondary, 50, READ), region("c", Role::Standby, 0, ALL),
        ]);
        let capability = if write { Capability::Write } else { Capability::Read };
        let mut worker = Worker::new(&regions, &documents[0].0, seed);
        for (document, probes) in &documents {
            worker.swap(&regions, document);
            let wish = Ask { capability, version: pin.filter(|version| *version < document.versions.len()), ..ask() };
            for (at, good) in probes {
                if let Some(endpoint) = worker.registry.iter().nth(usize::from(*at)) {
                    endpoint.step(verdict(*good), &POLICY);
                }
                check(&mut worker, &wish);
            }
        }
    }

    /// A retry never repeats an endpoint, and ends.
    #[test]
    fn no_endpoint_is_tried_twice(document in a_document(), seed: u64) {
        let mut worker = Worker::new(&regions(), &document, seed);
        let choices = worker.exhaust(&ask());
        for (at, choice) in choices.iter().enumerate() {
            prop_assert!(choices[..at].iter().all(|earlier| earlier.spot != choice.spot));
        }
    }
}

fn check(worker: &mut Worker, ask: &Ask<'_>) {
    let chosen = worker.choose(ask);
    let candidates = worker.service.explain(ask.capability, ask.version, None);
    let open: Vec<Spot> = candidates
        .iter()
        .filter(|candidate| candidate.obstacle.is_none())
        .map(|candidate| Spot {
            region: candidate.region,
            version: candidate.version,
            endpoint: position(&worker.service, candidate.region, candidate.version, candidate.endpoint),
        })
        .collect();
    match chosen {
        Ok(choice) => assert!(open.contains(&choice.spot), "{choice:?} of {open:?}"),
        Err(Refusal::NoRegion) => assert_eq!(open, []),
        Err(refusal @ (Refusal::Rejected(_) | Refusal::Full(_))) => {
            panic!("{refusal:?}: nothing is rejected or bounded here")
        }
        Err(Refusal::Exhausted(_)) => {
            let baseline = worker.service.baseline();
            assert!(open.iter().all(|spot| spot.version != baseline), "{open:?}");
        }
    }
}

fn position(service: &Service, region: usize, version: usize, endpoint: &Arc<Endpoint>) -> usize {
    service.pool(region, version).iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint)).unwrap()
}
