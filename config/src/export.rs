//! Stub.
use crate::{Environment, Overlay};
/// Stub.
pub fn with_weights(source: &str, _: &Environment, _: &Overlay) -> String {
    source.to_owned()
}
