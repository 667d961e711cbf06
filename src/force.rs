//! `sluice endpoint` and `sluice breaker`: an operator holds an endpoint in or out, or a breaker open or closed.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};
use sluice_config::name::{RegionName, ServiceName, VersionName};
use sluice_config::overlay::{Action, BreakerForce, Circuit, EndpointForce, Force, Override};
use sluice_config::value::RevisionId;
use sluice_control::api::view::Overrides;
use sluice_control_core::change::{BreakerWish, EndpointWish, Wish};

use crate::argument::{address, name};
use crate::cli::Exit;
use crate::overrides::{LayArgs, LiftArgs, only};
use crate::terminal::Color;

/// What to do with an endpoint.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Let an endpoint get requests, or none, whatever its health, an ejection or its breaker says
    Force(ForceEndpointArgs),
    /// Let an endpoint go that was forced, before its time
    Release(ReleaseEndpointArgs),
}

/// Which endpoint, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct ForceEndpointArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Whether it gets requests
    #[arg(value_name = "in|out")]
    to: Traffic,
    #[command(flatten)]
    lay: LayArgs,
}

/// Which endpoint.
#[derive(Debug, Args)]
pub(crate) struct ReleaseEndpointArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    lift: LiftArgs,
}

/// Which endpoint.
#[derive(Debug, Args)]
struct EndpointArgs {
    /// The service
    #[arg(value_parser = name::<ServiceName>)]
    service: ServiceName,
    /// The endpoint's address, such as 10.0.1.10:8080
    #[arg(value_parser = address)]
    address: SocketAddr,
    /// The endpoint's version [default: the only one that has the address]
    #[arg(long, value_name = "VERSION", value_parser = name::<VersionName>)]
    version: Option<VersionName>,
    /// Where it is [default: the only region that has the address]
    #[arg(long, value_name = "REGION", value_parser = name::<RegionName>)]
    region: Option<RegionName>,
}

/// Whether an endpoint gets requests.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Traffic {
    /// It gets its share, even where its health, an ejection or its breaker would keep it out
    In,
    /// It gets nothing
    Out,
}

/// What to do with a breaker.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakerCommand {
    /// Let a breaker stay open or closed, whatever it counts
    Force(ForceBreakerArgs),
    /// Let a breaker go that was forced, before its time
    Release(ReleaseBreakerArgs),
}

/// Which breaker, and what becomes of it.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct ForceBreakerArgs {
    /// The service
    #[arg(value_parser = name::<ServiceName>)]
    service: ServiceName,
    /// Its version [default: the only one]
    #[arg(value_parser = name::<VersionName>)]
    version: Option<VersionName>,
    /// Whether requests pass
    #[arg(value_name = "open|closed")]
    to: Passage,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    lay: LayArgs,
}

/// Which breaker.
#[derive(Debug, Args)]
pub(crate) struct ReleaseBreakerArgs {
    /// The service
    #[arg(value_parser = name::<ServiceName>)]
    service: ServiceName,
    /// Its version [default: the only one whose breaker is forced]
    #[arg(value_parser = name::<VersionName>)]
    version: Option<VersionName>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    lift: LiftArgs,
}

/// Which breaker of a version.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Where the pool is [default: every region of the version]
    #[arg(long, value_name = "REGION", value_parser = name::<RegionName>)]
    region: Option<RegionName>,
    /// The breaker of the endpoint with this address [default: the pool's own]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    endpoint: Option<SocketAddr>,
}

/// Whether requests pass a breaker.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Passage {
    /// Nothing passes
    Open,
    /// Everything passes
    Closed,
}

/// Forces an endpoint or releases it, and tells what that did.
///
/// # Errors
/// Nobody is reached, or it is refused; nothing is to be released.
pub(crate) fn endpoint(command: &EndpointCommand, color: Color) -> anyhow::Result<Exit> {
    match command {
        EndpointCommand::Force(args) => args.lay.lay(Wish::Endpoint(args.endpoint.wish(args.to)), color),
        EndpointCommand::Release(args) => args.lift.lift(None, |laid| args.endpoint.find(laid), color),
    }
}

/// Forces a breaker or releases it, and tells what that did.
///
/// # Errors
/// As [`endpoint`].
pub(crate) fn breaker(command: &BreakerCommand, color: Color) -> anyhow::Result<Exit> {
    match command {
        BreakerCommand::Force(args) => args.lay.lay(Wish::Breaker(args.wish()), color),
        BreakerCommand::Release(args) => args.lift.lift(None, |laid| args.find(laid), color),
    }
}

impl EndpointArgs {
    fn wish(&self, to: Traffic) -> EndpointWish {
        let to = match to {
            Traffic::In => Force::In,
            Traffic::Out => Force::Out,
        };
        let Self { service, address, version, region } = self;
        EndpointWish {
            service: service.clone(),
            version: version.clone(),
            region: region.clone(),
            address: *address,
            to,
        }
    }

    fn find(&self, laid: &Overrides) -> anyhow::Result<RevisionId> {
        let is_meant = |one: &Override| match &one.action {
            Action::Endpoint(EndpointForce { service, version, region, address, .. }) => {
                (service, address) == (&self.service, &self.address)
                    && is_or_any(self.version.as_ref(), version)
                    && is_or_any(self.region.as_ref(), region)
            }
            Action::Freeze | Action::Breaker(_) => false,
        };
        let none = || format!("no override holds {} of {}", self.address, self.service);
        only(laid, is_meant, || unheld(&none()), |several| name_one(several))
    }
}

impl ForceBreakerArgs {
    fn wish(&self) -> BreakerWish {
        let to = match self.to {
            Passage::Open => Circuit::Open,
            Passage::Closed => Circuit::Closed,
        };
        let PlaceArgs { region, endpoint } = &self.place;
        let (service, version) = (self.service.clone(), self.version.clone());
        BreakerWish { service, version, region: region.clone(), address: *endpoint, to }
    }
}

impl ReleaseBreakerArgs {
    fn find(&self, laid: &Overrides) -> anyhow::Result<RevisionId> {
        let place = &self.place;
        let is_meant = |one: &Override| match &one.action {
            Action::Breaker(BreakerForce { service, version, region, address, .. }) => {
                (service, address) == (&self.service, &place.endpoint)
                    && is_or_any(self.version.as_ref(), version)
                    && place.region.as_ref().is_none_or(|asked| region.as_ref() == Some(asked))
            }
            Action::Freeze | Action::Endpoint(_) => false,
        };
        let what = place.endpoint.map_or_else(|| "a breaker".to_owned(), |address| format!("the breaker of {address}"));
        let none = || format!("no override holds {what} of {}", self.service);
        only(laid, is_meant, || unheld(&none()), |several| name_one(several))
    }
}

fn is_or_any<T: PartialEq>(asked: Option<&T>, is: &T) -> bool {
    asked.is_none_or(|asked| asked == is)
}

fn unheld(what: &str) -> String {
    format!("{what}; `sluice get overrides` lists what is laid")
}

fn name_one(several: &[(RevisionId, &Override)]) -> String {
    let commands: Vec<String> = several.iter().map(|(id, one)| format!("\n  {}", one.action.lift(*id))).collect();
    format!("several overrides may be meant; lift one of them:{}", commands.concat())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::canned;
    use crate::cli::{Cli, Command};

    fn release(line: &str, laid: &Overrides) -> Result<u64, String> {
        let found = match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Endpoint { command: EndpointCommand::Release(args) } => args.endpoint.find(laid),
            Command::Breaker { command: BreakerCommand::Release(args) } => args.find(laid),
            other => panic!("{other:?}"),
        };
        found.map(|id| id.0).map_err(|error| error.to_string())
    }

    fn wish(line: &str) -> String {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Endpoint { command: EndpointCommand::Force(args) } => {
                Wish::Endpoint(args.endpoint.wish(args.to)).to_string()
            }
            Command::Breaker { command: BreakerCommand::Force(args) } => Wish::Breaker(args.wish()).to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_typed_is_what_is_wished() {
        let terms = "--for 2h --reason look";
        for (line, wished) in [
            ("sluice endpoint force shop 10.0.0.1:80 out", "10.0.0.1:80 of shop out"),
            ("sluice endpoint force shop [::1]:80 in --version v1 --region east", "[::1]:80 of shop/v1 in east in"),
            ("sluice breaker force shop open", "breaker of shop open"),
            ("sluice breaker force shop v1 closed --region east", "breaker of shop/v1 in east closed"),
            ("sluice breaker force shop v1 open --endpoint 10.0.0.1:80", "breaker of 10.0.0.1:80 of shop/v1 open"),
        ] {
            assert_eq!(wish(&format!("{line} {terms}")), wished);
        }
    }

    #[test]
    fn what_is_released_is_found_by_what_it_holds() {
        let held = |action| {
            let mut one = canned::force();
            one["action"] = action;
            canned::read::<Override>(one)
        };
        let endpoint = |version: &str| json!({ "endpoint": { "service": "shop", "version": version, "region": "east", "address": "10.0.0.1:80", "to": "out" } });
        let breaker = |more: serde_json::Value| {
            let mut action = json!({ "breaker": { "service": "shop", "version": "v1", "to": "open" } });
            action["breaker"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            action
        };
        let laid = Overrides {
            overrides: [
                (3, held(endpoint("v1"))),
                (4, held(endpoint("v2"))),
                (5, held(breaker(json!({})))),
                (6, held(breaker(json!({ "region": "east", "address": "10.0.0.1:80" })))),
                (7, canned::read(canned::freeze())),
            ]
            .into(),
        };
        assert_eq!(release("sluice endpoint release shop 10.0.0.1:80 --version v2", &laid), Ok(4));
        assert_eq!(release("sluice breaker release shop", &laid), Ok(5), "the pool's own");
        assert_eq!(release("sluice breaker release shop v1 --endpoint 10.0.0.1:80", &laid), Ok(6));
        let several = release("sluice endpoint release shop 10.0.0.1:80", &laid).unwrap_err();
        assert!(
            several.contains("\n  sluice endpoint release shop 10.0.0.1:80 --version v2 --region east"),
            "{several}"
        );
        for nothing in [
            "endpoint release shop 10.0.0.2:80",
            "endpoint release cart 10.0.0.1:80",
            "breaker release shop --region east",
        ] {
            let none = release(&format!("sluice {nothing}"), &laid).unwrap_err();
            assert!(none.contains("no override holds") && none.contains("get overrides"), "{none}");
        }
    }
}
