//! Every decision of the data plane: which route, region, version and endpoint a request gets, what its ending means,
//! and whether it may be tried again.
//!
//! Nothing here does I/O, reads a clock or draws chance: `now` and the random source are arguments, and each answer
//! carries its reason as data. A decision can therefore be property-tested, simulated and replayed.
//!
//! A request meets the modules in this order: [`client`] says whose it is, [`route`] finds the service, [`sticky`] what identifies the user,
//! [`select`] composes, for one [`service`], [`place`] (region), [`split`] (version) and [`pick`] (endpoint, by the service's
//! [`balance`], among those of the pool's [`supply`], in the [`zone`] that is preferred),
//! [`outcome`] says what the ending means ([`grpc`] for calls of gRPC), [`retry`] whether there is another attempt, [`histogram`] keeps the times.
//! [`endpoint`] and [`pool`] hold what outlives a revision: [`health`], [`latency`], [`outlier`], [`breaker`], [`slow_start`], by a service's
//! [`policies`]; [`sample`] says what an attempt tells of its endpoint, [`window`] counts it, [`change`] names what follows. Before any of them, [`flood`] says when a client of HTTP/2 is cut.
//!
//! Where a pool's addresses are not written down, [`discovery`] says when to ask for them and what to believe.
//!
//! Clients are bounded by [`pace`] (how slow one may be) and the process by [`overload`] (what it gives up when memory runs
//! short).
//!
//! Revisions meet [`recall`] (what a proxy starts with from its own disk), [`intake`] (what an order means for what runs)
//! and [`backoff`] (when to try again). The process ends by [`leave`].
//!
//! ```
//! use rand::{SeedableRng, rngs::StdRng};
//! use sluice_config::{Environment, validate, validated::Capability};
//! use sluice_proxy_core::endpoint::Registry;
//! use sluice_proxy_core::select::{Ask, Selector};
//! use sluice_proxy_core::service::{Service, identities};
//!
//! let text = r#"
//! listeners: [{ name: web, address: "127.0.0.1:8080" }]
//! services: [{ name: shop, endpoints: ["127.0.0.1:9000"] }]
//! routes: [{ service: shop }]
//! "#;
//! let document = validate(text, &Environment::empty()).expect("a sound document");
//! let registry = Registry::default().carry(identities(&document.regions, &document.services));
//! let shop = Service::new(&document.regions.into(), &document.services[0], &registry);
//!
//! let mut rng = StdRng::seed_from_u64(1);
//! let mut selector = Selector::new(&shop, None, &mut rng);
//! let ask = Ask::plain(Capability::Read, std::time::Instant::now());
//! let choice = selector.choose(&shop, &ask, &mut rng).expect("an endpoint without a health check is verified");
//! let _flight = choice.endpoint(&shop).begin().expect("no cap is set");
//! assert_eq!(choice.endpoint(&shop).in_flight(), 1);
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod change;
pub mod client;
pub mod discovery;
pub mod endpoint;
#[cfg(test)]
mod fixture;
pub mod flood;
pub mod grpc;
pub mod health;
pub mod histogram;
pub mod intake;
pub mod latency;
pub mod leave;
pub mod outcome;
pub mod outlier;
pub mod overload;
pub mod pace;
pub mod pick;
pub mod place;
pub mod policies;
pub mod pool;
pub mod queue;
pub mod recall;
pub mod retry;
pub mod route;
pub mod sample;
pub mod select;
pub mod service;
pub mod slow_start;
pub mod split;
pub mod sticky;
pub mod supply;
pub mod window;
pub mod zone;
