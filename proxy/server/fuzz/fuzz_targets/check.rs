//! Feeds arbitrary bytes to the check that is called like this program; see `src/fuzz` of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_proxy::fuzz::run(env!("CARGO_BIN_NAME"), data));
