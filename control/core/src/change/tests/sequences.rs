//! Any sequence of intents: the pair stays sound, and nobody's weights change but by their owner.

use proptest::prelude::*;

use super::*;

/// What somebody wants.
#[derive(Debug, Clone)]
enum Intent {
    Apply { document: Vec<Vec<Option<u32>>>, take: bool },
    Shift { service: usize, shares: Vec<(usize, u32)>, hours: u32 },
    Release(usize),
    RollBack { to: usize, weights: bool },
    Freeze(u32),
    Force { service: usize, version: Option<usize>, port: u16, to: Force, hours: u32 },
    Break { service: usize, version: usize, to: Circuit, hours: u32 },
    Lift(usize),
    Wait(u32),
}

const SERVICES: [&str; 2] = ["shop", "cart"];
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

/// For each service its versions' weights; absent: without the version. The first service is always there.
fn document() -> impl Strategy<Value = Vec<Vec<Option<u32>>>> {
    let weight = prop_oneof![2 => Just(None), 2 => Just(Some(0)), 4 => prop::sample::select(vec![1, 5, 50, 95, 100]).prop_map(Some)];
    prop::collection::vec(prop::collection::vec(weight, 3), 1..=2)
}

fn written_of(document: &[Vec<Option<u32>>]) -> Written {
    let versions = |weights: &Vec<Option<u32>>| -> Vec<(&str, u32)> {
        let there = weights.iter().zip(VERSIONS).filter_map(|(weight, name)| Some((name, (*weight)?)));
        let mut there: Vec<_> = there.collect();
        if there.iter().all(|(_, weight)| *weight == 0) {
            there.retain(|(name, _)| *name != "v1");
            there.push(("v1", 100));
        }
        there
    };
    let lists: Vec<_> = document.iter().map(versions).collect();
    let services: Vec<(&str, &[(&str, u32)])> =
        SERVICES.iter().zip(&lists).map(|(name, list)| (*name, &list[..])).collect();
    written(&text(&services))
}

fn intent() -> impl Strategy<Value = Intent> {
    let share = prop::sample::select(vec![0_u32, 1, 50_000, 333_333, 500_000, 1_000_000]);
    prop_oneof![
        4 => (document(), prop::bool::weighted(0.2)).prop_map(|(document, take)| Intent::Apply { document, take }),
        5 => (0..2_usize, prop::collection::vec((0..3_usize, share), 0..3), 0..5_u32)
            .prop_map(|(service, shares, hours)| Intent::Shift { service, shares, hours }),
        1 => (0..2_usize).prop_map(Intent::Release),
        2 => (0..20_usize, any::<bool>()).prop_map(|(to, weights)| Intent::RollBack { to, weights }),
        1 => (0..80_u32).prop_map(Intent::Freeze),
        2 => (0..2_usize, prop::option::of(0..3_usize), 9_001..9_006_u16, any::<bool>(), 0..4_u32)
            .prop_map(|(service, version, port, inside, hours)| {
                Intent::Force { service, version, port, to: if inside { Force::In } else { Force::Out }, hours }
            }),
        1 => (0..2_usize, 0..3_usize, any::<bool>(), 0..4_u32).prop_map(|(service, version, open, hours)| {
            Intent::Break { service, version, to: if open { Circuit::Open } else { Circuit::Closed }, hours }
        }),
        1 => (0..20_usize).prop_map(Intent::Lift),
        3 => (1..4_u32).prop_map(Intent::Wait),
    ]
}

/// A store of one history.
struct World {
    heads: Vec<Head>,
    now: Timestamp,
    file: Digest,
}

impl World {
    fn new() -> Self {
        let first = shop(&[("v1", 95), ("v2", 5)]);
        Self { heads: vec![begin(&first)], now: START, file: first.text }
    }

    fn head(&self) -> &Head {
        self.heads.last().unwrap()
    }

    fn live(&mut self, intent: &Intent) {
        if let Intent::Wait(hours) = intent {
            self.now = self.now.after(*hours * HOUR);
            return self.expire();
        }
        let outcome = self.decide(intent);
        match outcome {
            Ok(proposal) => {
                self.check_owners(intent, &proposal);
                self.commit(proposal);
            }
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty() && !refusal.hint().is_empty());
                self.check_refusal(&refusal);
            }
        }
    }

    fn decide(&mut self, intent: &Intent) -> Result<Proposal, Refusal> {
        let (author, why, now) = (author(), why(), self.now);
        match intent {
            Intent::Apply { document, take } => {
                let written = written_of(document);
                self.file = written.text;
                apply(Some(self.head()), &written, *take, &Environment::empty())
            }
            Intent::Shift { service, shares, hours } => {
                let named =
                    shares.iter().map(|(at, ppm)| (VERSIONS[*at].parse().unwrap(), Share::from_ppm(*ppm).unwrap()));
                let lasts = (*hours > 0).then(|| *hours * HOUR);
                let order = Shift { service: name(SERVICES[*service]), shares: named.collect(), lasts };
                let proposal = shift(self.head(), &order, &author, &why, now)?;
                for (version, share) in &order.shares {
                    assert_eq!(
                        proposal.overlay.weights[&order.service].shares.of(version),
                        *share,
                        "exactly what is named"
                    );
                }
                Ok(proposal)
            }
            Intent::Release(service) => release(self.head(), &name(SERVICES[*service])),
            Intent::RollBack { to, weights } => {
                let to = &self.heads[to % self.heads.len()];
                roll_back(self.head(), &to.revision, &to.document, *weights, Some(self.file), now)
            }
            Intent::Freeze(hours) => lay(self.head(), &Wish::Freeze, *hours * HOUR, &author, &why, now),
            Intent::Force { service, version, port, to, hours } => {
                let version = version.map(|at| VERSIONS[at].parse().unwrap());
                let (service, address) = (name(SERVICES[*service]), ([127, 0, 0, 1], *port).into());
                let wish = Wish::Endpoint(EndpointWish { service, version, region: None, address, to: *to });
                let proposal = lay(self.head(), &wish, *hours * HOUR, &author, &why, now)?;
                self.check_laid(&proposal);
                Ok(proposal)
            }
            Intent::Break { service, version, to, hours } => {
                let (service, version) = (name(SERVICES[*service]), Some(VERSIONS[*version].parse().unwrap()));
                let wish = Wish::Breaker(BreakerWish { service, version, region: None, address: None, to: *to });
                let proposal = lay(self.head(), &wish, *hours * HOUR, &author, &why, now)?;
                self.check_laid(&proposal);
                Ok(proposal)
            }
            Intent::Lift(id) => lift(self.head(), RevisionId(u64::try_from(*id).unwrap())),
            Intent::Wait(_) => unreachable!("time is nobody's intent"),
        }
    }

    /// The new override is the only one of its target, and no other was lost.
    fn check_laid(&self, proposal: &Proposal) {
        let (laid, before) = (&proposal.overlay.overrides, &self.head().revision.overlay.overrides);
        let new = &laid[&self.head().next()];
        let same = |one: &&Override| one.action.has_target_of(&new.action);
        assert_eq!(laid.values().filter(same).count(), 1);
        assert_eq!(laid.len(), before.values().filter(|one| !same(one)).count() + 1);
    }

    /// Checks the pair, in [`commit`].
    fn commit(&mut self, proposal: Proposal) {
        let before = &self.head().revision;
        let differs =
            proposal.document.is_some() || proposal.overlay != before.overlay || proposal.parked != before.parked;
        assert!(differs, "{proposal:?}");
        let next = commit(Some(self.head()), proposal, self.now);
        self.heads.push(next);
    }

    /// The rule of ownership, told in another way than it is carried out.
    fn check_owners(&self, intent: &Intent, proposal: &Proposal) {
        let before = &self.head().revision.overlay;
        let touched = |service: &str| match intent {
            Intent::Apply { take, .. } => *take,
            Intent::Shift { service: at, .. } | Intent::Release(at) => SERVICES[*at] == service,
            Intent::RollBack { weights, .. } => *weights,
            Intent::Freeze(_) | Intent::Force { .. } | Intent::Break { .. } | Intent::Lift(_) | Intent::Wait(_) => {
                false
            }
        };
        for service in SERVICES.map(name) {
            let (was, is) = (before.weights.get(&service), proposal.overlay.weights.get(&service));
            let agreed = is.is_none()
                && was.is_some_and(|was| was.until.is_none() && said(intent, &service) == Some(was.shares.clone()));
            assert!(was == is || touched(service.as_str()) || agreed, "{service}: {was:?} -> {is:?} by {intent:?}");
        }
        let may_lay =
            matches!(intent, Intent::Freeze(_) | Intent::Force { .. } | Intent::Break { .. } | Intent::Lift(_));
        assert!(may_lay || before.overrides == proposal.overlay.overrides);
        let clears = matches!(intent, Intent::Apply { .. });
        assert!(proposal.parked.is_none() || !clears);
    }

    fn check_refusal(&self, refusal: &Refusal) {
        if let Refusal::Owned(owned) = refusal {
            assert!(!owned.is_empty());
            for one in owned {
                let entry = &self.head().revision.overlay.weights[&one.service];
                assert!(!one.changes.is_empty() && entry.since == one.since);
            }
        }
        if let Refusal::Problems(problems) = refusal {
            assert!(problems.problems.iter().all(|problem| problem.code.as_str() == "named-by-overlay"));
        }
    }

    fn expire(&mut self) {
        let overrides = self.head().revision.overlay.overrides.clone();
        for _ in 0..2 {
            let Some((proposal, _)) = expire(self.head(), self.now) else { break };
            self.commit(proposal);
        }
        assert!(expire(self.head(), self.now).is_none(), "one change of each kind, and then it has ended");
        let overlay = &self.head().revision.overlay;
        assert!(overlay.next_end().is_none_or(|end| end > self.now));
        assert!(overrides.iter().all(|(id, one)| (one.expires > self.now) == overlay.overrides.contains_key(id)));
    }
}

proptest! {
    #[test]
    fn any_sequence_of_intents_keeps_the_pair_sound_and_the_owners(intents in prop::collection::vec(intent(), 1..25)) {
        let mut world = World::new();
        for intent in &intents {
            world.live(intent);
        }
        let ids: Vec<u64> = world.heads.iter().map(|head| head.revision.id.0).collect();
        prop_assert_eq!(ids, (1..=world.heads.len() as u64).collect::<Vec<_>>());
    }

    /// An expiry that was late has the effect of all that were in time.
    #[test]
    fn expiry_is_confluent(intents in prop::collection::vec(intent(), 1..15), looks in prop::collection::vec(0..6_u32, 0..6)) {
        let mut world = World::new();
        for intent in intents.iter().filter(|intent| !matches!(intent, Intent::Wait(_))) {
            world.live(intent);
        }
        let (late, mut head, mut now) = (world.head().clone(), world.head().clone(), world.now);
        for hours in looks {
            now = now.after(hours * HOUR);
            head = expired(&head, now);
        }
        prop_assert_eq!(&expired(&late, now).revision.overlay, &expired(&head, now).revision.overlay);
    }

    /// What was applied without `take_weights` moves no traffic of a service that is not the document's.
    #[test]
    fn a_document_moves_nothing_of_others(document in document(), shares in prop::collection::vec((0..3_usize, 0..=1_000_000_u32), 1..3)) {
        let head = begin(&shop(&[("v1", 50), ("v2", 45), ("v3", 5)]));
        let named = shares.iter().map(|(at, ppm)| (VERSIONS[*at].parse().unwrap(), Share::from_ppm(*ppm).unwrap())).collect();
        let order = Shift { service: name("shop"), shares: named, lasts: None };
        let Ok(proposal) = shift(&head, &order, &author(), &why(), START) else { return Ok(()) };
        let head = commit(Some(&head), proposal, START);
        if let Ok(next) = applied(&head, &written_of(&document)) {
            prop_assert_eq!(live(&head), live(&commit(Some(&head), next, START)));
        }
    }
}

/// How a document that is applied shares a service out.
fn said(intent: &Intent, service: &ServiceName) -> Option<Shares> {
    let Intent::Apply { document, .. } = intent else { return None };
    let written = written_of(document);
    let service = written.validated.services.iter().find(|one| one.name == *service)?;
    Shares::of_weights(service.versions.iter().map(|one| (&one.name, u64::from(one.weight.get()))))
}
