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

pub mod name;
pub mod validated;
pub mod value;
pub mod wire;

pub use validated::Validated;
