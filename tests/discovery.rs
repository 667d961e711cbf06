//! Endpoints that are discovered: requests go on whatever DNS or a file says, and what is said is what is used.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_harness::dns::Said;
use sluice_harness::h1::Client;
use sluice_harness::load::{Load, Running};
use sluice_harness::sluice::{command, setup};
use sluice_harness::wait::until;
use sluice_harness::{Dns, Origin, Ran, Sluice, free_address};
use tempfile::TempDir;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// The name that most suites ask for, and what metrics call its source at a port.
const NAME: &str = "shop.internal";

/// Origins at one port of several loopback addresses, as the addresses of one name are.
fn origins<const N: usize>(names: [&str; N]) -> (u16, [Origin; N]) {
    let port = free_address().port();
    let mut last = 1;
    let origins = names.map(|name| {
        last += 1;
        Origin::start_at(name, SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port)))
    });
    (port, origins)
}

fn addresses(origins: &[&Origin]) -> Said {
    addresses_for(origins, 0)
}

fn addresses_for(origins: &[&Origin], ttl: u32) -> Said {
    Said::Addresses(origins.iter().map(|origin| origin.address().ip()).collect(), ttl)
}

/// One service with this list of endpoints, whose names are asked for several times a second, if there are any.
fn document(web: SocketAddr, dns: Option<&Dns>, endpoints: &str) -> String {
    let servers = dns.map_or_else(String::new, |dns| format!("servers: [\"{}\"], ", dns.address()));
    let (resolver, discovery) = if endpoints.contains("dns:") {
        (format!("resolver: {{ {servers}timeout: 200ms }}\n"), "discovery: { ttl_min: 100ms, ttl_max: 300ms }, ")
    } else {
        (String::new(), "")
    };
    format!(
        "listeners: [{{ name: web, address: \"{web}\" }}]\n{resolver}\
         services: [{{ name: shop, {discovery}endpoints: {endpoints} }}]\n\
         routes: [{{ service: shop }}]\n"
    )
}

/// Each of these answers from now on, and none of the others.
fn wait_shared(load: &Running, by: &[&Origin], not: &[&Origin]) {
    until(&format!("{:?} answer", by.iter().map(|one| one.id()).collect::<Vec<_>>()), || {
        let before: Vec<u64> = by.iter().map(|one| one.requests()).collect();
        let others: u64 = not.iter().map(|one| one.requests()).sum();
        load.wait_good(60);
        let each = by.iter().zip(before).all(|(one, before)| one.requests() > before);
        (each && others == not.iter().map(|one| one.requests()).sum::<u64>()).then_some(())
    });
}

fn discovery(sluice: &Sluice) -> (String, String) {
    let (_, health) = sluice.health();
    let component = &health["component_status"]["discovery"];
    let text = |field: &str| component[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("error_message"))
}

fn wait_ailing(sluice: &Sluice, words: &str) {
    until(&format!("health says {words:?}"), || {
        let (status, why) = discovery(sluice);
        (status == "degraded" && why.contains(words)).then_some(())
    });
}

#[test]
fn a_name_is_followed_and_no_request_fails() {
    let (port, [a, b, c]) = origins(["a", "b", "c"]);
    let (dns, web) = (Dns::start(), free_address());
    dns.say(NAME, addresses(&[&a]));
    let sluice = setup(SLUICE).start(document(web, Some(&dns), &format!("[{{ dns: {NAME}, port: {port} }}]")));
    let source = format!("dns {NAME}:{port}");
    let revision = sluice.revision();
    assert_eq!(Client::connect(web).get("/").origin(), "a", "the first request meets a pool that is filled");
    let load = Load::new(web).connections(8).rate(400.0).start();
    for (said, by, not) in [
        (addresses(&[&a, &b]), vec![&a, &b], vec![&c]),
        (addresses(&[&b, &a]), vec![&a, &b], vec![&c]),
        (addresses(&[&c, &b]), vec![&b, &c], vec![&a]),
        (addresses_for(&[&c], 86_400), vec![&c], vec![&a, &b]),
        (addresses_for(&[&a, &b, &c], 1), vec![&a, &b, &c], vec![]),
    ] {
        dns.say(NAME, said);
        wait_shared(&load, &by, &not);
    }
    let changes = sluice.metric("sluice_discovery_changes_total", &[("source", &source)]);
    for (said, result, words) in [
        (Said::Failure, "server_failure", "SERVFAIL"),
        (Said::Refusal, "refused", "REFUSED"),
        (Said::Silence, "timeout", "no answer came in time"),
        (Said::NoName, "no_name", "no such name"),
        (Said::Nothing, "no_records", "no addresses"),
    ] {
        dns.say(NAME, said);
        wait_ailing(&sluice, words);
        wait_ailing(&sluice, "its last 3 good addresses stay");
        sluice.wait_metric("sluice_discovery_answers_total", &[("source", &source), ("result", result)], 2.0);
        wait_shared(&load, &[&a, &b, &c], &[]);
    }
    assert!(sluice.metric("sluice_discovery_last_good_seconds", &[("source", &source)]) > 0.0);
    dns.say(NAME, addresses(&[&b]));
    wait_shared(&load, &[&b], &[&a, &c]);
    until("health is well again", || (discovery(&sluice).0 == "healthy").then_some(()));
    load.finish().assert_clean();
    assert_eq!(sluice.metric("sluice_discovery_changes_total", &[("source", &source)]), changes + 1.0);
    assert_eq!(sluice.metric("sluice_discovery_endpoints", &[("source", &source)]), 1.0);
    assert_eq!((sluice.revision(), sluice.metric("sluice_revisions_refused_total", &[])), (revision, 0.0));
}

#[test]
fn targets_have_ports_and_weights_and_the_lowest_priority_is_used() {
    let [heavy, light, far] = ["heavy", "light", "far"].map(Origin::start);
    let (dns, web) = (Dns::start(), free_address());
    let target =
        |priority, weight, origin: &Origin| (priority, weight, origin.address().port(), "here.internal".to_owned());
    dns.say("here.internal", Said::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0));
    dns.say(
        "_http._tcp.shop",
        Said::Targets(vec![target(1, 30, &heavy), target(1, 10, &light), target(2, 60, &far)], 0),
    );
    let _sluice = setup(SLUICE).start(document(web, Some(&dns), "[{ dns: _http._tcp.shop, srv: true }]"));
    let load = Load::new(web).connections(4).rate(400.0).start();
    wait_shared(&load, &[&heavy, &light], &[&far]);
    let before = (heavy.requests(), light.requests());
    load.wait_good(400);
    let (many, few) = ((heavy.requests() - before.0) as f64, (light.requests() - before.1) as f64);
    assert!((many / few - 3.0).abs() < 0.3, "{many} to {few}");
    dns.say("_http._tcp.shop", Said::Targets(vec![target(2, 60, &far)], 0));
    wait_shared(&load, &[&far], &[&heavy, &light]);
    dns.say("_http._tcp.shop", Said::Targets(vec![(0, 0, 0, ".".to_owned())], 0));
    dns.wait_asked(4);
    wait_shared(&load, &[&far], &[&heavy, &light]);
    load.finish().assert_clean();
}

#[test]
fn a_list_in_a_file_is_followed_and_no_request_fails() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::start);
    let (folder, web) = (TempDir::new().unwrap(), free_address());
    let list = folder.path().join("endpoints/shop.yaml");
    fs::create_dir(list.parent().unwrap()).unwrap();
    fs::write(&list, format!("- {}\n", a.address())).unwrap();
    fs::write(folder.path().join("sluice.yaml"), document(web, None, "[{ file: endpoints/shop.yaml }]")).unwrap();
    let sluice = setup(SLUICE).start_in(folder);
    let load = Load::new(web).connections(8).rate(400.0).start();
    load.wait_good(50);
    fs::write(&list, format!("[\"{}\", {{ address: \"{}\", weight: 2, zone: z }}]", a.address(), b.address())).unwrap();
    wait_shared(&load, &[&a, &b], &[]);
    for (content, words) in [
        (format!("- {}\n- 10.0.0.1\n", c.address()), "2:3: [1]: \"10.0.0.1\" has no port"),
        (String::new(), "the list is empty"),
        ("- [".to_owned(), "not YAML"),
        (format!("- {{ address: \"{}\", wieght: 2 }}\n", c.address()), "did you mean `weight`"),
        ("[]\n".to_owned(), "the list is empty"),
    ] {
        fs::write(&list, content).unwrap();
        wait_ailing(&sluice, words);
        wait_shared(&load, &[&a, &b], &[&c]);
    }
    let next = list.with_extension("next");
    fs::write(&next, format!("- {}\n", c.address())).unwrap();
    fs::rename(&next, &list).unwrap();
    wait_shared(&load, &[&c], &[&a, &b]);
    fs::remove_file(&list).unwrap();
    wait_ailing(&sluice, "cannot be read");
    wait_shared(&load, &[&c], &[&a, &b]);
    load.finish().assert_clean();
}

#[test]
fn a_pool_without_addresses_gives_way_until_it_has_some_and_is_told() {
    let (port, [here, there]) = origins(["here", "there"]);
    let (dns, web) = (Dns::start(), free_address());
    let document = format!(
        "listeners: [{{ name: web, address: \"{web}\" }}]\n\
         resolver: {{ servers: [\"{}\"] }}\n\
         regions: [{{ name: near }}, {{ name: far, role: standby }}]\n\
         services:\n\
         - name: shop\n  discovery: {{ ttl_min: 100ms, ttl_max: 300ms }}\n  endpoints:\n    near: [{{ dns: {NAME}, port: {port} }}]\n    far: [\"{}\"]\n\
         - name: lost\n  endpoints: {{ near: [{{ dns: lost.internal, port: 80 }}] }}\n\
         routes: [{{ service: shop }}, {{ service: lost, match: {{ path: /lost }} }}]\n",
        dns.address(),
        there.address(),
    );
    let sluice = setup(SLUICE).start(document);
    assert_eq!(Client::connect(web).get("/").origin(), "there");
    assert_eq!(Client::connect(web).get("/lost").status(), 503);
    wait_ailing(&sluice, "it has no addresses yet");
    let status = sluice.status_address().to_string();
    let told = |more: &[&str]| sluice.operate(&[&["get", "endpoints", "lost", "--status", &status], more].concat());
    told(&[]).expect(0).assert_says(&["0/0", "dns lost.internal:80", "none yet: there is no such name (for "]);
    let lost = &told(&["-o", "json"]).expect(0).json()["pools"][0];
    assert_eq!((&lost["region"], &lost["eligible"]), (&"near".into(), &0.into()), "{lost}");
    assert_eq!(lost["sources"][0]["trouble"]["result"], "no_name");
    dns.say(NAME, addresses(&[&here]));
    until("the region's own endpoint answers", || (Client::connect(web).get("/").origin() == "here").then_some(()));
}

#[test]
fn our_own_addresses_are_never_endpoints() {
    let origin = Origin::start("a");
    let (folder, web) = (TempDir::new().unwrap(), free_address());
    fs::write(folder.path().join("sluice.yaml"), document(web, None, "[{ file: list.yaml }]")).unwrap();
    let list = folder.path().join("list.yaml");
    fs::write(&list, format!("- {}\n", origin.address())).unwrap();
    let sluice = setup(SLUICE).start_in(folder);
    let (status, admin) = (sluice.status_address(), sluice.admin_address());
    fs::write(&list, format!("- {status}\n- {}\n- {admin}\n- 0.0.0.0:80\n", origin.address())).unwrap();
    let source = [("source", "file list.yaml")];
    sluice.wait_metric("sluice_discovery_dropped_total", &source, 3.0);
    assert_eq!(sluice.metric("sluice_discovery_endpoints", &source), 1.0);
    sluice.wait_stderr("an address of this process itself");
    let mut client = Client::connect(web);
    (0..20).for_each(|_| assert_eq!(client.get("/api/health").origin(), "a"));
}

#[test]
fn a_document_with_sources_is_checked_and_explained() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sluice.yaml");
    let endpoints = "[\"127.0.0.1:80\", { dns: shop.internal, port: 80 }, { file: nowhere.yaml }]";
    fs::write(&file, document(SocketAddr::from(([127, 0, 0, 1], 8080)), None, endpoints)).unwrap();
    let file = file.to_str().unwrap();
    let check = Ran::of(command(SLUICE, &["check", file])).expect(0);
    check.assert_says(&["1 endpoint and those of 2 sources"]);
    let explain = Ran::of(command(SLUICE, &["explain", file, "/"])).expect(0);
    explain.assert_says(&["DISCOVERED", "dns shop.internal:80", "file nowhere.yaml", "nobody is asked"]);
    let json = Ran::of(command(SLUICE, &["explain", file, "/", "--output", "json"])).expect(0).json();
    assert_eq!(json["answer"]["sources"][0]["source"], "dns shop.internal:80");
    let effective = Ran::of(command(SLUICE, &["config", "show", "--effective", file])).expect(0);
    effective.assert_says(&["dns: shop.internal", "ttl_max: 300ms"]);
}
