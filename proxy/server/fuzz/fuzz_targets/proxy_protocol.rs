//! Feeds arbitrary bytes to the reader of the PROXY protocol; see `src/fuzz/proxy_protocol.rs` for what must hold.
#![no_main]

use sluice_proxy::proxy_protocol;

#[path = "../../src/fuzz/proxy_protocol.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
