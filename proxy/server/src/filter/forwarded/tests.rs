use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::validated::Limits;
use sluice_proxy_core::client::{self, Claims, Networks};

use super::*;
use crate::client::Identity;
use crate::listener::{Gate, ListenerId, Port};
use crate::message::Fields;
use crate::metrics::ListenerSeries;
use crate::overload::Overload;

fn port(forwarded: Forwarded, trusted: &[&str]) -> Rc<Port> {
    let limits = Limits {
        connections: 1,
        connections_per_address: None,
        header_bytes: 1,
        header_count: 1,
        header_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_secs(1),
        requests_per_connection: None,
        body_bytes: None,
        receive_min_rate: None,
        send_min_rate: None,
        min_rate_grace: Duration::from_secs(1),
    };
    let id = ListenerId { name: "web".parse().unwrap(), address: "0.0.0.0:8080".parse().unwrap() };
    let overload = Arc::new(Overload::new(Arc::default()));
    let gate = Gate::new(id, &limits, Arc::new(ListenerSeries::default()), overload);
    let port = Rc::new(Port::new(Arc::new(gate), &limits));
    let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
    port.believe(Arc::new(Identity { trusted: Networks::new(&trusted), forwarded, ..Identity::default() }));
    port
}

const HOP: &str = "10.0.0.1:5000";

fn request(list: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new();
    head.set_authority(b"a.test:8080").unwrap();
    list.iter().for_each(|(name, value)| head.fields.push(name, value));
    head
}

/// What an origin is told of a request from this peer, where 10.0.0.0/8 is trusted.
fn told(forwarded: Forwarded, peer: &str, list: &[(&str, &str)]) -> Vec<String> {
    let client = Client::new(&port(forwarded, &["10.0.0.0/8"]), peer.parse().unwrap(), 8080);
    let mut head = request(list);
    let said = client.trusted().map(|identity| Said::of(&head.fields, &client, &identity));
    set(&mut head, &client, said.as_ref());
    let mut told: Vec<_> =
        head.fields.iter().map(|(name, value, _)| text(name).to_lowercase() + "=" + &text(value)).collect();
    told.sort();
    told
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const CLAIMS: &[(&str, &str)] = &[
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-For", "192.0.2.7, 10.0.0.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.test"),
    ("X-Forwarded-Port", "443"),
    ("Forwarded", "for=198.51.100.1"),
    ("X-Real-IP", "198.51.100.2"),
];

#[test]
fn what_somebody_says_who_is_not_trusted_is_replaced() {
    let own = [
        "x-forwarded-for=192.0.2.1",
        "x-forwarded-host=a.test:8080",
        "x-forwarded-port=8080",
        "x-forwarded-proto=http",
        "x-real-ip=192.0.2.1",
    ];
    assert_eq!(told(Forwarded::XForwarded, "192.0.2.1:5000", CLAIMS), own);
    assert_eq!(told(Forwarded::XForwarded, "[::ffff:192.0.2.1]:5000", &[]), own);
    let element = "forwarded=for=192.0.2.1;host=\"a.test:8080\";proto=http";
    assert_eq!(told(Forwarded::Rfc7239, "192.0.2.1:5000", CLAIMS), [element, "x-real-ip=192.0.2.1"]);
    let both: Vec<_> = std::iter::once(element).chain(own).collect();
    assert_eq!(told(Forwarded::Both, "192.0.2.1:5000", CLAIMS), both);
    let v6 = "forwarded=for=\"[2001:db8::7]\";host=\"a.test:8080\";proto=http";
    assert_eq!(told(Forwarded::Rfc7239, "[2001:db8::7]:5000", &[]), [v6, "x-real-ip=2001:db8::7"]);
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_it_is_added() {
    assert_eq!(
        told(Forwarded::XForwarded, HOP, CLAIMS),
        [
            "x-forwarded-for=203.0.113.9, 192.0.2.7, 10.0.0.9, 10.0.0.1",
            "x-forwarded-host=shop.test",
            "x-forwarded-port=443",
            "x-forwarded-proto=https",
            "x-real-ip=192.0.2.7",
        ]
    );
    assert_eq!(
        told(Forwarded::Rfc7239, HOP, CLAIMS),
        [
            "forwarded=for=203.0.113.9, for=192.0.2.7;host=shop.test;proto=https, for=10.0.0.9, \
             for=10.0.0.1;host=\"a.test:8080\";proto=http",
            "x-real-ip=192.0.2.7",
        ]
    );
    assert_eq!(
        told(Forwarded::XForwarded, HOP, &[]),
        [
            "x-forwarded-for=10.0.0.1",
            "x-forwarded-host=a.test:8080",
            "x-forwarded-port=8080",
            "x-forwarded-proto=http",
            "x-real-ip=10.0.0.1",
        ]
    );
    // A proxy that ends TLS and names no client is itself the client.
    let ends_tls = told(Forwarded::Rfc7239, HOP, &[("X-Forwarded-Proto", "https")]);
    assert_eq!(ends_tls[0], "forwarded=for=10.0.0.1;host=\"a.test:8080\";proto=https");
}

#[test]
fn forwarded_is_kept_and_translated() {
    let claims =
        [("Forwarded", r#"for="unclosed, for=_x;by=y, For="[2001:db8::7]:4711";proto=https;host="a,b", for=10.0.0.9"#)];
    assert_eq!(
        told(Forwarded::Both, HOP, &claims),
        [
            r#"forwarded=for=_x;by=y, For="[2001:db8::7]:4711";proto=https;host="a,b", for=10.0.0.9, for=10.0.0.1;host="a.test:8080";proto=http"#,
            "x-forwarded-for=unknown, 2001:db8::7, 10.0.0.9, 10.0.0.1",
            "x-forwarded-host=a,b",
            "x-forwarded-port=8080",
            "x-forwarded-proto=https",
            "x-real-ip=2001:db8::7",
        ]
        .map(|line| line.to_owned())
    );
    let odd =
        told(Forwarded::Rfc7239, HOP, &[("X-Forwarded-For", "what\"; is, 192.0.2.7"), ("X-Forwarded-Host", "a\"b\\c")]);
    assert_eq!(
        odd[0],
        r#"forwarded=for=unknown, for=192.0.2.7;host="a\"b\\c", for=10.0.0.1;host="a.test:8080";proto=http"#
    );
}

/// A listener that trusts somebody else now, or nobody, does so on connections that there are.
#[test]
fn a_change_of_trust_holds_from_the_next_request() {
    let port = port(Forwarded::XForwarded, &["10.0.0.0/8"]);
    let client = Client::new(&port, HOP.parse().unwrap(), 8080);
    assert!(client.trusted().is_some());
    port.believe(Arc::new(Identity { forwarded: Forwarded::Rfc7239, ..Identity::default() }));
    assert!(client.trusted().is_none());
    assert_eq!(client.forwarded(), Forwarded::Rfc7239);
}

fn claim() -> impl Strategy<Value = (&'static str, String)> {
    let name = prop::sample::select(vec![
        "X-Forwarded-For",
        "Forwarded",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Real-IP",
    ]);
    let piece = prop_oneof![
        prop::sample::select(vec!["for=192.0.2.9", "192.0.2.9", "\"", ", ", ";proto=", "10.0.0.7", "\\"])
            .prop_map(str::to_owned),
        "[!-~]{0,4}",
    ];
    (name, prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()))
}

proptest! {
    /// Nothing that an untrusted client writes reaches the origin; and an origin that trusts us finds the client whom we
    /// found, whatever it was told by.
    #[test]
    fn the_origin_finds_whom_we_found(claims in prop::collection::vec(claim(), 0..5), trusted in any::<bool>()) {
        let peer = if trusted { HOP } else { "192.0.2.1:5000" };
        let client = Client::new(&port(Forwarded::Both, &["10.0.0.0/8"]), peer.parse().unwrap(), 8080);
        let mut head = request(&claims.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
        let said = client.trusted().map(|identity| Said::of(&head.fields, &client, &identity));
        set(&mut head, &client, said.as_ref());
        let address = said.as_ref().map_or_else(|| client.address.ip(), |said| said.address);
        let hops = Networks::new(&["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let found = |known, by_list: bool| {
            let values = head.fields.all(known).collect();
            let claims = if by_list {
                Claims { x_forwarded_for: values, forwarded: Vec::new() }
            } else {
                Claims { x_forwarded_for: Vec::new(), forwarded: values }
            };
            client::find(&hops, "127.0.0.1".parse().unwrap(), &claims).address
        };
        prop_assert_eq!(found(Known::XForwardedFor, true), address);
        prop_assert_eq!(found(Known::Forwarded, false), address);
        let real = address.to_string();
        prop_assert_eq!(head.fields.get(Known::XRealIp), Some(real.as_bytes()));
        if !trusted {
            let plain = told(Forwarded::Both, peer, &[]);
            let fields: &Fields = &head.fields;
            prop_assert_eq!(fields.len(), plain.len());
        }
    }
}
