//! What passes between a proxy and the control plane. The first byte chooses which side has sent the message; a difference is
//! applied to a revision, too.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_config::wire::{Hello, Order, Patch, Reply};

use super::first;

pub(super) fn check(data: &[u8]) {
    let (kind, message) = first(data);
    match kind % 4 {
        0 => same::<Order>(message),
        1 => same::<Reply>(message),
        2 => same::<Hello>(message),
        _ => patch(message),
    }
}

/// What was read is written so that it is read again.
fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(message: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(message) else { return };
    let written = serde_json::to_string(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<T>(&written).ok(), Some(read), "{written}");
}

/// A patch, a line end, and the text that it is applied to: it fits or it does not.
fn patch(message: &[u8]) {
    let (patch, text) = message.split_at(message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len()));
    let (Ok(patch), Ok(text)) = (serde_json::from_slice::<Patch>(patch), std::str::from_utf8(text)) else { return };
    let Ok(new) = patch.apply(text) else { return };
    assert_eq!(Patch::between(text, &new).apply(text).as_deref().ok(), Some(new.as_str()));
}
