use proptest::prelude::*;

use super::*;

fn networks(list: &[&str]) -> Networks {
    Networks::new(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Who is found behind 10.0.0.1, where 10.0.0.0/8 and fd00::/8 are trusted.
fn found<'a>(x_forwarded_for: &[&'a str], forwarded: &[&'a str]) -> Found<'a> {
    let bytes = |list: &[&'a str]| list.iter().map(|text| text.as_bytes()).collect();
    let claims = Claims { x_forwarded_for: bytes(x_forwarded_for), forwarded: bytes(forwarded) };
    find(&networks(&["10.0.0.0/8", "fd00::/8"]), ip("10.0.0.1"), &claims)
}

fn by_list(x_forwarded_for: &[&str]) -> String {
    found(x_forwarded_for, &[]).address.to_string()
}

fn by_forwarded(forwarded: &[&str]) -> String {
    found(&[], forwarded).address.to_string()
}

#[test]
fn networks_are_joined_and_hold_what_their_parts_hold() {
    let set = networks(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "fd00::/8", "192.0.2.8/31"]);
    for inside in ["10.0.0.0", "10.255.255.255", "10.1.2.3", "192.0.2.7", "192.0.2.9", "fd00::", "::ffff:10.0.0.1"] {
        assert!(set.contain(ip(inside)), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.10", "fe00::", "::", "::a00:1"] {
        assert!(!set.contain(ip(outside)), "{outside}");
    }
    assert!(networks(&[]).is_empty() && !networks(&[]).contain(ip("::")));
    // Every IPv6 address is not every address.
    assert!(!networks(&["::/0"]).contain(ip("10.0.0.1")) && networks(&["::/0"]).contain(ip("fd00::1")));
}

#[test]
fn the_right_most_untrusted_address_is_the_client() {
    assert_eq!(by_list(&[]), "10.0.0.1");
    assert_eq!(by_list(&["192.0.2.7"]), "192.0.2.7");
    assert_eq!(by_list(&["203.0.113.9, 192.0.2.7"]), "192.0.2.7");
    assert_eq!(by_list(&["203.0.113.9, 192.0.2.7, 10.0.0.2, fd00::3"]), "192.0.2.7");
    assert_eq!(by_list(&["203.0.113.9", "192.0.2.7,10.0.0.2", " , 10.9.9.9 ,"]), "192.0.2.7");
    assert_eq!(by_list(&["192.0.2.7:4711"]), "192.0.2.7");
    assert_eq!(by_list(&["[2001:db8::7]:4711"]), "2001:db8::7");
    assert_eq!(by_list(&["[2001:db8::7]"]), "2001:db8::7");
    assert_eq!(by_list(&["2001:db8::7"]), "2001:db8::7");
    assert_eq!(by_list(&["::ffff:192.0.2.7"]), "192.0.2.7");
    // All are ours: the first of them is where it began.
    assert_eq!(by_list(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
}

#[test]
fn what_is_no_address_ends_the_walk() {
    for none in
        ["unknown", "_hidden", "192.0.2.7.1", "192.0.2.7:", "192.0.2.7:a", "[::1", "[::1]x", "fe80::1%eth0", "\""]
    {
        assert_eq!(by_list(&[&format!("192.0.2.7, {none}, 10.0.0.2")]), "10.0.0.2", "{none}");
        assert_eq!(by_list(&[none]), "10.0.0.1", "{none}");
    }
}

#[test]
fn forwarded_is_read_the_same_way() {
    assert_eq!(by_forwarded(&["for=192.0.2.7"]), "192.0.2.7");
    assert_eq!(
        by_forwarded(&["For=192.0.2.9, proto=http;FOR=192.0.2.7;host=a.b, for=10.0.0.2;by=10.0.0.1"]),
        "192.0.2.7"
    );
    assert_eq!(by_forwarded(&[r#"for="[2001:db8::7]:4711""#]), "2001:db8::7");
    assert_eq!(by_forwarded(&[r#"for="192.0.2.7:_gate" ; proto=https"#]), "192.0.2.7");
    assert_eq!(by_forwarded(&["for=192.0.2.7", "for=10.0.0.2"]), "192.0.2.7");
    assert_eq!(by_forwarded(&[r#"for=192.0.2.7;host="a,b;c", for=10.0.0.2"#]), "192.0.2.7");
    for none in [
        "for=unknown",
        "for=_hidden",
        "proto=http",
        "for",
        "=a",
        "for=",
        "for=10.0.0.3;for=192.0.2.9",
        r#"for="192.0.2.9"#,
    ] {
        assert_eq!(by_forwarded(&[&format!("for=192.0.2.7, {none}"), "for=10.0.0.2"]), "10.0.0.2", "{none}");
        assert_eq!(by_forwarded(&["for=192.0.2.7", &format!("{none}, for=10.0.0.2")]), "10.0.0.2", "{none}");
    }
}

#[test]
fn an_open_quote_swallows_nothing() {
    for start in [r#"for=""#, r#"for="a"#, r#"a"b"#, r#"for="\"#, r#"for="a\""#, r#"",""#] {
        assert_eq!(by_forwarded(&[&format!("{start}, for=192.0.2.7")]), "192.0.2.7", "{start}");
        assert_eq!(by_forwarded(&[&format!(r#"{start}, for="192.0.2.7:1";host="a\"b""#)]), "192.0.2.7", "{start}");
    }
}

#[test]
fn the_list_wins_over_forwarded() {
    let both = found(&["192.0.2.7"], &["for=203.0.113.9"]);
    assert_eq!((both.address, both.reason), (ip("192.0.2.7"), Reason::XForwardedFor(1)));
    let empty = found(&[" , "], &["for=203.0.113.9;proto=https"]);
    assert_eq!(empty.address, ip("203.0.113.9"));
    let Reason::Forwarded(Some(element)) = empty.reason else { panic!("{empty:?}") };
    assert_eq!((element.proto, element.host), (Some(&b"https"[..]), None));
    assert_eq!(found(&[], &[]).reason, Reason::Peer);
}

/// What a client may write: anything that a field may hold, and often what has a meaning here.
fn written() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "for=",
            "192.0.2.7",
            "10.0.0.2",
            "\"",
            "\\",
            ",",
            ";",
            ", ",
            "[",
            "]",
            ":",
            "fd00::1",
            "proto=https",
            "unknown",
            "=",
        ])
        .prop_map(str::to_owned),
        "[ -~\u{e9}]{0,6}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn trusted_hop() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| IpAddr::from([10, b, c, d])),
        any::<u64>().prop_map(|low| IpAddr::from((0xfd_u128 << 120 | u128::from(low)).to_be_bytes())),
    ]
}

fn untrusted() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
        .prop_map(|address| address.to_canonical())
        .prop_filter("not ours", |address| !networks(&["10.0.0.0/8", "fd00::/8"]).contain(*address))
}

/// As a proxy writes it.
fn told(address: IpAddr) -> String {
    if address.is_ipv6() { format!("for=\"[{address}]\"") } else { format!("for={address}") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whoever is not trusted is who they are, whatever they say.
    #[test]
    fn an_untrusted_peer_is_itself(
        peer in untrusted(),
        list in prop::collection::vec(written(), 0..3),
        forwarded in prop::collection::vec(written(), 0..3),
    ) {
        let bytes = |list: &'_ [String]| list.iter().map(|text| text.clone().into_bytes()).collect::<Vec<_>>();
        let (list, forwarded) = (bytes(&list), bytes(&forwarded));
        let claims = Claims {
            x_forwarded_for: list.iter().map(Vec::as_slice).collect(),
            forwarded: forwarded.iter().map(Vec::as_slice).collect(),
        };
        let found = find(&networks(&["10.0.0.0/8", "fd00::/8"]), peer, &claims);
        prop_assert_eq!(found, Found { address: peer, reason: Reason::Peer });
    }

    /// Behind trusted proxies that append, a client cannot choose its identity by what it sends.
    #[test]
    fn a_client_cannot_choose_its_identity(
        claim in written(),
        client in untrusted(),
        hops in prop::collection::vec(trusted_hop(), 0..4),
        apart in any::<bool>(),
        by_list in any::<bool>(),
    ) {
        let write = |address: &IpAddr| if by_list { address.to_string() } else { told(*address) };
        let appended = std::iter::once(&client).chain(&hops).map(write).collect::<Vec<_>>().join(", ");
        let whole = format!("{claim}, {appended}");
        let values = if apart { vec![claim.as_str(), appended.as_str()] } else { vec![whole.as_str()] };
        let found = if by_list { found(&values, &[]) } else { found(&[], &values) };
        prop_assert_eq!(found.address, client, "{:?}", values);
    }

    /// The text of an element is itself an element that says the same: it may be passed on.
    #[test]
    fn an_element_is_the_same_again(value in written()) {
        for element in elements(&[value.as_bytes()]) {
            let again: Vec<_> = elements(&[element.text]).collect();
            prop_assert_eq!(again, vec![element]);
        }
    }

    #[test]
    fn a_set_holds_what_one_of_its_networks_holds(
        list in prop::collection::vec((any::<IpAddr>(), 0_u8..=16), 1..8),
        address in any::<IpAddr>(),
    ) {
        let wide = |(address, prefix): &(IpAddr, u8)| {
            let first = match address {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !(u32::MAX >> prefix)).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !(u128::MAX >> prefix)).into()),
            };
            format!("{first}/{prefix}").parse::<Network>().unwrap()
        };
        let list: Vec<Network> = list.iter().map(wide).collect();
        let address = address.to_canonical();
        let expected = list.iter().any(|network| {
            let (first, last) = network.bounds();
            first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
        });
        prop_assert_eq!(Networks::new(&list).contain(address), expected);
    }

    #[test]
    fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let claims = Claims { x_forwarded_for: Vec::new(), forwarded: vec![&value] };
        let _ = (find(&networks(&["::/0", "0.0.0.0/0"]), ip("::1"), &claims), node(&value));
    }
}
