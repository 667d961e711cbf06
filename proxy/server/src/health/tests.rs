use sluice_config::{Environment, validate};
use sluice_proxy_core::health::{Cause, Policy, Verdict};

use super::*;
use crate::metrics::{Metrics, SERIES_BUDGET};

const DOCUMENT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - { name: shop, health_check: { http: { path: / } }, endpoints: ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"] }
  - { name: cart, health_check: { http: { path: / } }, endpoints: ["127.0.0.1:9004"] }
routes: [{ service: shop }]
"#;

fn watch() -> Watch {
    Watch::new(Arc::default())
}

fn running() -> Watch {
    let document = Arc::new(validate(DOCUMENT, &Environment::empty()).unwrap());
    let live =
        crate::live::compile(RevisionId(1), document, None, &Metrics::new(1, SERIES_BUDGET), std::path::Path::new(""))
            .unwrap();
    let watch = watch();
    watch.current.store(Some(Arc::new(live)));
    assert!(watch.ready().is_err(), "its listeners are not open yet");
    watch.ran(vec![]);
    watch
}

/// Takes so many endpoints of a service out.
fn fail(watch: &Watch, service: &str, count: usize) {
    let current = watch.current.load();
    let live = current.as_ref().unwrap();
    let policy = Policy { failure_threshold: 1, recovery_threshold: 1, ..Policy::default() };
    let service = live.services.iter().find(|it| it.core.name().as_str() == service).unwrap();
    for endpoint in service.endpoints().take(count) {
        let _ = endpoint.step(Verdict::Bad(Cause::Refused), &policy);
    }
}

fn told(watch: &Watch, component: &str) -> (Status, String) {
    let component = watch.health().component_status[component].clone();
    (component.status, component.error_message.unwrap_or_default())
}

#[test]
fn without_a_revision_it_is_unhealthy_and_says_what_it_waits_for() {
    let mut watch = watch();
    assert_eq!(watch.ready(), Err("no revision runs yet: waiting for the control plane".to_owned()));
    let control = Arc::new(ControlSeries::default());
    control.lost(Instant::now(), "it answers 401".to_owned());
    watch.control = Some(control);
    assert_eq!(watch.ready(), Err("no revision runs yet: no control plane: it answers 401".to_owned()));
    assert_eq!(watch.health().overall_status, Status::Unhealthy);
    assert_eq!(told(&watch, "revision").0, Status::Unhealthy);
    assert_eq!(told(&watch, "control_plane"), (Status::Degraded, "no control plane yet: it answers 401".to_owned()));
}

#[test]
fn a_lost_control_plane_and_a_refused_revision_only_degrade() {
    let mut watch = running();
    assert_eq!((watch.health().overall_status, watch.ready()), (Status::Healthy, Ok(())));
    watch.refuse(Refusal { id: RevisionId(2), problems: vec!["address in use".to_owned()] });
    let words = "revision 2 does not run: address in use; what ran before does";
    assert_eq!(told(&watch, "revision"), (Status::Degraded, words.to_owned()));
    watch.ran(vec!["extra".parse().unwrap()]);
    assert_eq!(told(&watch, "revision").0, Status::Healthy);
    assert_eq!(told(&watch, "listen").0, Status::Degraded);
    watch.ran(vec![]);
    let control = Arc::new(ControlSeries::default());
    control.opened();
    watch.control = Some(Arc::clone(&control));
    assert_eq!(watch.health().overall_status, Status::Healthy);
    control.lost(Instant::now(), "it has ended the connection".to_owned());
    let (status, words) = told(&watch, "control_plane");
    assert!(status == Status::Degraded && words == "no control plane for 0 s: it has ended the connection", "{words}");
    assert_eq!((watch.health().overall_status, watch.ready()), (Status::Degraded, Ok(())));
}

#[test]
fn a_service_without_endpoints_degrades_and_all_of_them_are_unhealthy() {
    let watch = running();
    fail(&watch, "shop", 1);
    assert_eq!(told(&watch, "service:shop").0, Status::Healthy);
    fail(&watch, "shop", 2);
    assert_eq!(told(&watch, "service:shop"), (Status::Degraded, "2 of its 3 endpoints are out".to_owned()));
    fail(&watch, "shop", 3);
    assert_eq!(told(&watch, "service:shop"), (Status::Degraded, "all of its 3 endpoints are out".to_owned()));
    assert_eq!(watch.health().overall_status, Status::Degraded);
    fail(&watch, "cart", 1);
    assert_eq!(watch.health().overall_status, Status::Unhealthy);
    assert_eq!(watch.ready(), Ok(()), "readiness looks at nothing outside");
}

#[test]
fn a_disk_that_takes_no_writes_degrades() {
    let mut watch = running();
    let (keep, data) = (Arc::new(KeepSeries::default()), tempfile::tempdir().unwrap());
    watch.keep = Some((Arc::clone(&keep), data.path().to_owned()));
    assert_eq!(told(&watch, "last_known_good").1, "what runs is not on the disk yet");
    keep.written(SystemTime::now());
    assert_eq!(told(&watch, "last_known_good").0, Status::Healthy);
    keep.failed("no space left".to_owned());
    assert_eq!(told(&watch, "last_known_good"), (Status::Degraded, "no space left".to_owned()));
    assert!(watch.health().component_status.contains_key("disk"));
    watch.keep = Some((keep, "/nowhere/at/all".into()));
    assert_eq!(told(&watch, "disk").0, Status::Degraded);
}

#[test]
fn what_else_runs_in_the_process_is_told_too() {
    let mut watch = running();
    watch.more = Some(Arc::new(|| {
        let bad = Component::checked(now(), Duration::ZERO, Err((Status::Degraded, "slow".to_owned())));
        [("store".to_owned(), bad)].into()
    }));
    watch.tick();
    assert_eq!(told(&watch, "store"), (Status::Degraded, "slow".to_owned()));
    assert!(watch.health().component_status.contains_key("memory"));
}

#[test]
fn the_machines_memory_is_read() {
    let text = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n";
    assert_eq!((kilobytes(text, "MemTotal:"), kilobytes(text, "MemAvailable:")), (Some(1000), Some(250)));
    assert_eq!(kilobytes(text, "SwapTotal:"), None);
}
