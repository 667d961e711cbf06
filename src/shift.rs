//! `sluice shift`: a service's new requests are shared among its versions as an operator says.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use sluice_config::name::{ServiceName, VersionName};
use sluice_config::share::Share;
use sluice_control::api::view::{Lasts, ShiftRequest};

use crate::argument::{lasting, name, share};
use crate::change::{ChangeArgs, finish};
use crate::cli::{Exit, OutputArg, misused};
use crate::client::{Call, ServerArgs};
use crate::terminal::Color;
use crate::wait::WaitArgs;

/// Which service, and how it is shared.
#[derive(Debug, Args)]
pub(crate) struct ShiftArgs {
    /// The service
    #[arg(value_parser = name::<ServiceName>)]
    service: ServiceName,
    /// A version and its share of new requests, such as v2=5%. The versions that are not named keep their ratio in what is
    /// left
    #[arg(value_name = "VERSION=SHARE", value_parser = part, required_unless_present = "release")]
    shares: Vec<(VersionName, Share)>,
    /// Give the weights back to the document instead
    #[arg(long, conflicts_with_all = ["shares", "lasts"])]
    release: bool,
    /// How long; then the weights before it come back [default: they stay]
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    lasts: Option<Duration>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

fn part(text: &str) -> Result<(VersionName, Share), String> {
    let (version, part) = text.split_once('=').ok_or("write VERSION=SHARE, such as v2=5%")?;
    Ok((name(version)?, share(part)?))
}

/// Shifts, and tells what it did.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &ShiftArgs, color: Color) -> anyhow::Result<Exit> {
    let call = match call(args) {
        Ok(call) => call,
        Err(words) => return Ok(misused("shift", &words)),
    };
    let client = args.server.client(args.output.output, color)?;
    let answer = client.call(&call.expecting(args.change.if_revision))?;
    finish(&client, &answer, &args.wait)
}

fn call(args: &ShiftArgs) -> Result<Call, String> {
    let path = format!("/v1/services/{}/weights", args.service);
    if args.release {
        return Ok(Call::delete(path).query("reason", args.change.reason.as_ref()));
    }
    let shares = whole(&args.shares)?;
    Ok(Call::put(path).json(&ShiftRequest { shares, lasts: args.lasts.map(Lasts), reason: args.change.reason.clone() }))
}

/// Each version once, and no more than there is.
fn whole(parts: &[(VersionName, Share)]) -> Result<BTreeMap<VersionName, Share>, String> {
    let mut shares = BTreeMap::new();
    for (version, share) in parts {
        if let Some(before) = shares.insert(version.clone(), *share) {
            return Err(format!("{version} is given twice: {before} and {share}"));
        }
    }
    let sum: u64 = shares.values().map(|share| u64::from(share.ppm())).sum();
    if sum > u64::from(Share::WHOLE.ppm()) {
        return Err(format!("the shares add up to {}%, which is more than 100%", sum as f64 / 10_000.0));
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_version_and_a_sign() {
        let (version, share) = part("v2=0.25%").unwrap();
        assert_eq!((version.as_str(), share.ppm()), ("v2", 2_500));
        for bad in ["v2", "v2=5", "v2=", "=5%", "v 2=5%", "v2=101%", "v2:5%"] {
            part(bad).unwrap_err();
        }
        assert!(part("v2=5").unwrap_err().contains("percent"));
    }

    #[test]
    fn versions_are_named_once_and_are_no_more_than_the_whole() {
        let whole = |texts: &[&str]| whole(&texts.iter().map(|text| part(text).unwrap()).collect::<Vec<_>>());
        assert!(whole(&["v2=50%", "v2=20%"]).unwrap_err().contains("twice: 50% and 20%"));
        assert!(whole(&["v1=60%", "v2=40.0001%"]).unwrap_err().contains("100.0001%"));
        assert_eq!(whole(&["v1=60%", "v2=40%"]).unwrap().len(), 2);
    }
}
