//! The vocabulary of Sluice: names and values, the document as operators write it, and the proof that it is sound.
//!
//! This crate is not a folder of configuration files. It holds the words that every other crate speaks, and no I/O:
//! text goes in, a [`Validated`] document or *all* of its [`Problem`]s come out.
//!
//! ```
//! let text = r#"
//! listeners: [{ name: web, address: "127.0.0.1:8080" }]
//! services: [{ name: shop, endpoints: ["127.0.0.1:9000"] }]
//! routes: [{ service: shop }]
//! "#;
//! let document = sluice_config::validate(text, &sluice_config::Environment::empty()).expect("the shortest useful document");
//! assert_eq!(document.services[0].versions[0].pools[0].endpoints.len(), 1);
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod bound;
pub mod diff;
pub mod duration;
mod effective;
pub mod endpoints;
pub mod export;
mod format;
pub mod health;
pub mod limit;
pub mod name;
pub mod network;
pub mod overlay;
pub mod path;
pub mod percentage;
pub mod problem;
mod remains;
pub mod report;
mod schema;
mod shape;
pub mod share;
pub mod size;
mod structure;
mod suggestion;
pub mod timestamp;
mod tree;
mod validate;
pub mod validated;
pub mod value;
pub mod wire;

pub use diff::diff;
pub use effective::effective_yaml;
pub use overlay::Overlay;
pub use problem::{Problem, Problems};
pub use schema::json_schema;
pub use suggestion::nearest;
pub use timestamp::Timestamp;
pub use tree::Environment;
pub use validate::{
    Dangling, Gone, Source, UnusableFile, collide, decode, endpoint_list, is_nowhere, is_own, lay, path_regex, read,
    read_pair, refuse_endpoints, refuse_files, validate,
};
pub use validated::Validated;
