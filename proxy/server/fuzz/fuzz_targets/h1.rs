//! Feeds arbitrary bytes to the HTTP/1 codec; see `checks.rs` for what must hold.
#![no_main]

use sluice_proxy::{h1, message};

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
