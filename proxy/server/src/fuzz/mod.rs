//! What must hold of each parser for any bytes: one file for each, fed by `fuzz/` with the nightly compiler, and by the test
//! below with the stable one, which puts the corpus and mutations of it through the same checks.
//!
//! A check is a function of bytes that panics when something does not hold. A new parser is a file here, its name in
//! the list, inputs in `fuzz/corpus/NAME`, and a program in `fuzz/Cargo.toml`; the test compares the three.

macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        /// Every check by its name.
        pub const CHECKS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),+];
    };
}

checks! { control_url, cookie, h1, hop, lines, path, place, proxy_protocol, wire }

/// Puts bytes through the check of this name.
///
/// # Panics
/// When something does not hold, or there is no such check.
pub fn run(name: &str, data: &[u8]) {
    let check = CHECKS.iter().find(|(known, _)| *known == name);
    check.expect("a program is called like a check").1(data);
}

/// The first byte, and what follows it.
fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests;
