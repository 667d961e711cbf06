//! Any bytes: no panic, and what is accepted is the same again in each of its written forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_config::{Environment, decode, effective_yaml, read};

fuzz_target!(|bytes: &[u8]| {
    let environment = Environment::from_iter([("PORT", "8080"), ("WEIGHT", "5")]);
    let Ok(text) = decode(bytes) else { return };
    let source = match read(text, &environment) {
        Ok(source) => source,
        Err(problems) => return assert!(problems.render("text", text).contains("problem")),
    };
    for form in [source.json, effective_yaml(&source.validated)] {
        let again = read(&form, &Environment::empty()).expect("what was accepted is accepted again");
        assert_eq!(again.validated, source.validated);
    }
});
