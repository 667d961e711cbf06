use proptest::prelude::*;

use super::*;
use crate::fixture::POLICY;
use crate::health::Cause;

const BAD: Verdict = Verdict::Bad(Cause::Refused);

impl Endpoint {
    /// Sets the most requests at once, as a tick of a service whose document says so.
    pub(crate) fn set_cap(&self, cap: Option<u32>) {
        let mut watch = self.watch();
        self.gate.room.set_limit(cap);
        self.publish(&mut watch);
    }
}

fn id(service: u8, address: u8) -> EndpointId {
    EndpointId {
        service: format!("s{service}").parse().unwrap(),
        version: "v1".parse().unwrap(),
        region: "east".parse().unwrap(),
        address: SocketAddr::from(([10, 0, 0, address], 80)),
    }
}

fn registry(checked: bool) -> (Registry, Arc<Endpoint>) {
    let registry = Registry::default().carry([(id(1, 1), checked)]);
    let endpoint = Arc::clone(registry.find(&id(1, 1)).unwrap());
    (registry, endpoint)
}

#[test]
fn an_identity_reads_well() {
    assert_eq!(id(1, 1).to_string(), "s1/v1/east/10.0.0.1:80");
}

#[test]
fn an_unchecked_endpoint_is_verified_whatever_a_probe_says() {
    let (_, endpoint) = registry(false);
    (0..9).for_each(|_| assert_eq!(endpoint.step(BAD, &POLICY), None));
    assert_eq!(endpoint.standing(), Standing::Verified);
}

#[test]
fn a_check_that_goes_brings_its_endpoints_back() {
    let (old, endpoint) = registry(true);
    (0..3).for_each(|_| {
        endpoint.step(BAD, &POLICY);
    });
    assert_eq!(endpoint.standing(), Standing::Out);
    let new = old.carry([(id(1, 1), false)]);
    assert_eq!(endpoint.standing(), Standing::Out, "a revision that is only prepared changes nothing");
    endpoint.set_checked(false);
    assert_eq!(endpoint.standing(), Standing::Verified);
    assert_eq!(endpoint.step(BAD, &POLICY), None, "a late verdict changes nothing");
    assert!(Arc::ptr_eq(new.find(&id(1, 1)).unwrap(), &endpoint));
}

#[test]
fn a_check_that_comes_takes_out_only_what_fails_it() {
    let (old, endpoint) = registry(false);
    let _new = old.carry([(id(1, 1), true)]);
    endpoint.set_checked(true);
    assert_eq!(endpoint.standing(), Standing::Verified);
    let told: Vec<_> = (0..3).filter_map(|_| endpoint.step(BAD, &POLICY)).collect();
    assert_eq!(told.iter().map(|t| (t.from, t.to)).collect::<Vec<_>>(), [(Standing::Verified, Standing::Out)]);
}

#[test]
fn traffic_is_told_once() {
    let (_, endpoint) = registry(true);
    assert!(!endpoint.take_traffic());
    drop((endpoint.begin(), endpoint.begin()));
    assert!(endpoint.take_traffic() && !endpoint.take_traffic());
}

#[test]
fn another_question_begins_another_streak() {
    let (_, endpoint) = registry(true);
    for verdict in [Verdict::Good, BAD, BAD] {
        endpoint.step(verdict, &POLICY);
    }
    endpoint.ask_anew();
    assert_eq!([BAD, BAD].map(|verdict| endpoint.step(verdict, &POLICY)), [None, None]);
    assert_eq!(endpoint.standing(), Standing::Verified);
    assert!(endpoint.step(BAD, &POLICY).is_some());
}

#[test]
fn a_pulse_advances_with_each_change_of_its_service_only() {
    let registry = Registry::default().carry([(id(1, 1), true), (id(1, 2), true), (id(2, 1), true)]);
    let pulse = |service: &str| registry.pulse(&service.parse().unwrap()).unwrap().now();
    registry.find(&id(1, 2)).unwrap().step(Verdict::Good, &POLICY);
    registry.find(&id(1, 2)).unwrap().step(Verdict::Good, &POLICY);
    assert_eq!((pulse("s1"), pulse("s2")), (1, 0));
}

proptest! {
    /// Guarantee 5: state belongs to the identity. What two revisions share has one state and one pulse; the rest
    /// is new.
    #[test]
    fn states_are_carried_by_identity(
        before in prop::collection::btree_set((0_u8..3, 0_u8..10), 0..20),
        after in prop::collection::btree_set((0_u8..3, 0_u8..10), 0..20),
    ) {
        let wanted = |ids: &std::collections::BTreeSet<(u8, u8)>| ids.iter().map(|(s, a)| (id(*s, *a), true)).collect::<Vec<_>>();
        let old = Registry::default().carry(wanted(&before));
        let flights: Vec<Flight> = old.iter().filter_map(Endpoint::begin).collect();
        old.iter().for_each(|endpoint| { endpoint.step(Verdict::Good, &POLICY); });
        let new = old.carry(wanted(&after));
        prop_assert_eq!(new.iter().count(), after.len());
        for (service, address) in &after {
            let endpoint = new.find(&id(*service, *address)).unwrap();
            let known = before.contains(&(*service, *address));
            prop_assert_eq!(endpoint.in_flight(), u32::from(known));
            prop_assert_eq!(endpoint.standing(), if known { Standing::Verified } else { Standing::Unprobed });
            let pulse = new.pulse(&endpoint.id().service).unwrap();
            prop_assert!(Arc::ptr_eq(&endpoint.pulse, pulse));
        }
        drop(flights);
        prop_assert!(new.iter().all(|endpoint| endpoint.in_flight() == 0));
    }
}
