//! Faults that a user asks the sample origins for: `us-east-1/v2=200ms`, `eu-west-1/v1=5%`.

use std::time::Duration;

use super::plan::{REGIONS, VERSIONS};

/// The origins of one version in one region, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) region: usize,
    pub(super) version: usize,
}

/// Origins that answer late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slow {
    pub(super) place: Place,
    pub(super) delay: Duration,
}

/// Origins that answer a share of requests with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(super) place: Place,
    /// In parts of a million.
    pub(super) share: u32,
}

impl std::str::FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, delay) = parts(text, "200ms")?;
        let delay =
            sluice_config::duration::parse(delay).map_err(|e| format!("`{delay}` {e}; write it like `200ms`"))?;
        Ok(Self { place, delay })
    }
}

impl std::str::FromStr for Fail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, share) = parts(text, "5%")?;
        let percent = share.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Self { place, share: (percent * 1e4) as u32 }),
            _ => Err(format!("`{share}` is not a share from 0% to 100%; write it like `5%`")),
        }
    }
}

fn parts<'a>(text: &'a str, example: &str) -> Result<(Place, &'a str), String> {
    let (place, value) = text.split_once('=').ok_or_else(|| format!("write it like `us-east-1/v2={example}`"))?;
    let (region, version) =
        place.split_once('/').ok_or_else(|| format!("`{place}` is not REGION/VERSION, such as us-east-1/v2"))?;
    let regions = REGIONS.each_ref().map(|region| region.name);
    Ok((Place { region: find(region, &regions, "region")?, version: find(version, &VERSIONS, "version")? }, value))
}

fn find(name: &str, among: &[&str], kind: &str) -> Result<usize, String> {
    let missing = || format!("the demo has no {kind} `{name}`; it has {}", among.join(", "));
    among.iter().position(|known| *known == name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_a_place_and_an_amount() {
        let slow: Slow = "us-east-1/v2=200ms".parse().unwrap();
        assert_eq!(slow, Slow { place: Place { region: 0, version: 1 }, delay: Duration::from_millis(200) });
        let fail: Fail = "eu-west-1/v1=0.5%".parse().unwrap();
        assert_eq!(fail, Fail { place: Place { region: 2, version: 0 }, share: 5_000 });
    }

    #[test]
    fn what_is_no_fault_says_what_would_be_one() {
        let slow = |text: &str| text.parse::<Slow>().unwrap_err();
        assert!(slow("us-east-1/v2").contains("us-east-1/v2=200ms"));
        assert!(slow("us-east-1=1s").contains("REGION/VERSION"));
        assert!(slow("mars/v2=1s").contains("us-east-1, us-west-2, eu-west-1"));
        assert!(slow("us-east-1/v9=1s").contains("v1, v2"));
        assert!(slow("us-east-1/v2=5").contains("200ms"));
        assert!("us-east-1/v2=101%".parse::<Fail>().unwrap_err().contains("100%"));
        assert!("us-east-1/v2=NaN%".parse::<Fail>().is_err());
    }
}
