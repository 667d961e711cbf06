use proptest::prelude::*;

use super::*;

const TEXT: &str = r#"# The shop.
listeners: [{ name: web, address: "127.0.0.1:${PORT:-8080}" }]   # é
services:
  - name: shop
    # v1 is what most get.
    versions:
      - name: v1   # the old one
        weight: 95 # of 100
        endpoints: ["127.0.0.1:9001"]
      - { name: v2, weight: 5, endpoints: ["127.0.0.1:9002"] }
      - endpoints: ["127.0.0.1:9003"]
        name: v3
        weight: ${V3}
      - name: v4
        endpoints: ["127.0.0.1:9004"]
      - { endpoints: ["127.0.0.1:9005"], name: v5 }
  - { name: cart, endpoints: ["127.0.0.1:9006"] }
routes: [{ service: shop }]
"#;

fn environment() -> Environment {
    Environment::from_iter([("V3", "0"), ("SHOP", "shop")])
}

fn overlay(service: &str, shares: &[(&str, u32)]) -> Overlay {
    let shares: Vec<String> = shares
        .iter()
        .map(|(name, ppm)| format!("{name:?}:\"{}\"", crate::share::Share::from_ppm(*ppm).unwrap()))
        .collect();
    let weights = format!(
        r#"{{"weights":{{"{service}":{{"shares":{{{}}},"owner":"operator","author":"ann","reason":"why",
        "since":"2026-11-26T09:30:00Z"}}}}}}"#,
        shares.join(",")
    );
    serde_json::from_str(&weights).unwrap()
}

/// The export, which must mean what is live.
fn export(text: &str, overlay: &Overlay) -> String {
    let exported = with_weights(text, &environment(), overlay).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    let live = read_pair(text, &environment(), overlay).unwrap().validated;
    let again = validate(&exported, &environment()).unwrap_or_else(|problems| panic!("{exported}\n{problems}"));
    assert_eq!(again.digest, live.digest, "{exported}");
    exported
}

#[test]
fn without_live_weights_it_is_the_text() {
    assert_eq!(with_weights(TEXT, &environment(), &Overlay::default()).as_deref(), Ok(TEXT));
    assert_eq!(
        with_weights("not even\tyaml: [", &environment(), &Overlay::default()).as_deref(),
        Ok("not even\tyaml: [")
    );
}

#[test]
fn weights_are_written_where_they_stand() {
    let live = overlay("shop", &[("v1", 500_000), ("v2", 300_000), ("v3", 125_000), ("v4", 50_000), ("v5", 25_000)]);
    insta::assert_snapshot!(export(TEXT, &live), @r#"
    # The shop.
    listeners: [{ name: web, address: "127.0.0.1:${PORT:-8080}" }]   # é
    services:
      - name: shop
        # v1 is what most get.
        versions:
          - name: v1   # the old one
            weight: 500 # of 100
            endpoints: ["127.0.0.1:9001"]
          - { name: v2, weight: 300, endpoints: ["127.0.0.1:9002"] }
          - endpoints: ["127.0.0.1:9003"]
            name: v3
            weight: 125
          - weight: 50
            name: v4
            endpoints: ["127.0.0.1:9004"]
          - { weight: 25, endpoints: ["127.0.0.1:9005"], name: v5 }
      - { name: cart, endpoints: ["127.0.0.1:9006"] }
    routes: [{ service: shop }]
    "#);
}

#[test]
fn a_weight_that_is_right_stays_as_it_is_written() {
    let text = TEXT.replace("weight: 5,", "weight: 0x5,");
    let exported = export(&text, &overlay("shop", &[("v1", 950_000), ("v2", 50_000)]));
    assert!(exported.contains("weight: 0x5,") && exported.contains("weight: ${V3}"), "{exported}");
    assert_eq!(exported.matches("weight: 0\n").count() + exported.matches("weight: 0,").count(), 2, "v4 and v5");
    let short = overlay("cart", &[("default", 1_000_000)]);
    assert_eq!(export(TEXT, &short), TEXT, "there is nothing to share out");
}

#[test]
fn json_and_other_line_ends_are_kept() {
    let json = "{\n\t\"listeners\": [{ \"name\": \"web\", \"address\": \"127.0.0.1:8080\" }],\n\t\"services\": [{ \"name\": \"shop\", \
                \"versions\": [\n\t\t{ \"name\": \"v1\", \"endpoints\": [\"127.0.0.1:9001\"] },\n\t\t{ \"name\": \"v2\", \"weight\": \
                5, \"endpoints\": [\"127.0.0.1:9002\"] }] }],\n\t\"routes\": [{ \"match\": { \"headers\": { \"x\": \"\\ud83d\\ude00\" } }, \
                \"service\": \"shop\" }]\n}\n";
    let exported = export(json, &overlay("shop", &[("v1", 250_000), ("v2", 750_000)]));
    assert!(
        exported.contains("{ \"weight\": 25, \"name\": \"v1\"") && exported.contains("\"weight\": 75,"),
        "{exported}"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&exported).is_ok());
    let live = overlay("shop", &[("v4", 1_000_000)]);
    let dos = export(&TEXT.replace('\n', "\r\n"), &overlay("shop", &[("v1", 1_000_000)]));
    assert_eq!(dos.matches('\n').count(), dos.matches("\r\n").count());
    assert!(!dos.starts_with(PRINTED) && dos.contains("weight: 0\r\n        name: v4"), "{dos}");
    assert!(!export(TEXT, &live).contains("weight: 100\n        name: v4"), "the default is not written");
}

#[test]
fn what_cannot_be_written_in_place_is_printed_and_says_so() {
    let shared = TEXT
        .replace("    versions:\n", "    versions: &all\n")
        .replace("  - { name: cart, endpoints: [\"127.0.0.1:9006\"] }\n", "  - { name: cart, versions: *all }\n");
    let exported = export(&shared, &overlay("shop", &[("v1", 500_000), ("v2", 500_000)]));
    assert!(exported.starts_with("# The live weights cannot be written"), "{exported}");
    let both = Overlay {
        weights: overlay("shop", &[("v1", 500_000), ("v2", 500_000)])
            .weights
            .into_iter()
            .chain(overlay("cart", &[("v1", 500_000), ("v2", 500_000)]).weights)
            .collect(),
        ..Overlay::default()
    };
    assert!(!export(&shared, &both).starts_with(PRINTED), "both are shifted alike");
}

#[test]
fn a_pair_that_is_not_sound_has_no_export() {
    let problems = with_weights(TEXT, &environment(), &overlay("shop", &[("v9", 1_000_000)])).unwrap_err();
    assert!(problems.to_string().contains("\"v9\" of shop is gone"), "{problems}");
}

/// A version in one of the ways to write it.
fn version(at: usize, style: usize, weight: Option<u32>) -> String {
    let weight = weight.map(|weight| format!("weight: {weight}"));
    let (name, endpoints) = (format!("name: v{at}"), format!("endpoints: [\"127.0.0.1:{}\"]", 9_000 + at));
    let mut fields: Vec<String> = [Some(name), weight, Some(endpoints)].into_iter().flatten().collect();
    let turn = style / 3 % fields.len();
    fields.rotate_left(turn);
    match style % 3 {
        0 => format!("      - {{ {} }} # in one line\n", fields.join(", ")),
        1 => format!("      - {}\n", fields.join(" # é\n        ")),
        _ => format!("      -\n        # below\n        {}\n", fields.join("\n        ")),
    }
}

proptest! {
    /// However a document is written: what is exported means what is live, in the author's text.
    #[test]
    fn an_export_means_what_is_live(
        versions in prop::collection::vec((0..9_usize, prop::option::of(1..300_u32)), 1..6),
        weights in prop::collection::vec(0..1_000_u64, 6),
        dos: bool,
    ) {
        let list: String = versions.iter().enumerate().map(|(at, (style, weight))| version(at, *style, *weight)).collect();
        let text = format!(
            "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\nservices:\n  - name: \"${{SHOP}}\"\n    versions:\n{list}\
             routes: [{{ service: shop }}]\n"
        );
        let text = if dos { text.replace('\n', "\r\n") } else { text };
        let names: Vec<crate::name::VersionName> = (0..versions.len()).map(|at| format!("v{at}").parse().unwrap()).collect();
        let Some(shares) = Shares::of_weights(names.iter().zip(weights.iter().copied())) else { return Ok(()) };
        let shares: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), shares.of(name).ppm())).collect();
        let exported = export(&text, &overlay("shop", &shares));
        prop_assert!(!exported.starts_with(PRINTED), "{}", exported);
        prop_assert_eq!(exported.matches('#').count(), text.matches('#').count());
        prop_assert_eq!(exported.matches("${SHOP}").count(), 1);
        prop_assert_eq!(export(&exported, &overlay("shop", &shares)), exported, "there is nothing left to write");
    }
}
