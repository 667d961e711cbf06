//! Values that several commands take, each refused with what would be one.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use sluice_config::duration;
use sluice_config::overlay::Reason;
use sluice_config::share::Share;
use sluice_config::value::RevisionId;

/// Reads a share.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    text.parse().map_err(|error| format!("{text:?} {error}: write one such as 5% or 0.25%"))
}

/// Reads a duration that is not nothing.
pub(crate) fn lasting(text: &str) -> Result<Duration, String> {
    let example = "write one such as 30m or 2h";
    let time = duration::parse(text).map_err(|error| format!("{text:?} {error}: {example}"))?;
    if time.is_zero() { Err(format!("it must be longer than nothing: {example}")) } else { Ok(time) }
}

/// Reads the number of a revision.
pub(crate) fn revision(text: &str) -> Result<RevisionId, String> {
    let number = text.parse().ok().filter(|number| (1..=i64::MAX.unsigned_abs()).contains(number));
    number.map(RevisionId).ok_or_else(|| "write a number from 1; `sluice history` lists them".to_owned())
}

/// Reads the name of a service, a version or a region.
pub(crate) fn name<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Reads an address.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 10.0.1.10:8080".to_owned())
}

/// Reads a reason.
pub(crate) fn reason(text: &str) -> Result<Reason, String> {
    text.parse().map_err(|error| format!("a reason {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_with_what_would_be_right() {
        for bad in ["5", "105%", "five%", ""] {
            assert!(share(bad).unwrap_err().contains("5%"), "{bad}");
        }
        for bad in ["2", "0s", "2 h", "1d", ""] {
            assert!(lasting(bad).unwrap_err().contains("30m"), "{bad}");
        }
        for bad in ["0", "-1", "head", "9223372036854775808"] {
            assert!(revision(bad).unwrap_err().contains("from 1"), "{bad}");
        }
        for bad in [" ", "two\nlines", &"a".repeat(501)] {
            assert!(reason(bad).unwrap_err().contains("a reason"), "{bad}");
        }
        for bad in ["10.0.1.10", "localhost:80", ""] {
            assert!(address(bad).unwrap_err().contains("10.0.1.10:8080"), "{bad}");
        }
        assert!(name::<sluice_config::name::ServiceName>("a b").is_err());
        assert_eq!(revision("17"), Ok(RevisionId(17)));
        assert_eq!(lasting("2h"), Ok(Duration::from_secs(7_200)));
    }
}
