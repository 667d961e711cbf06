//! The followed file: what a look at it becomes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use sluice_config::Problems;
use sluice_config::value::Digest;
use sluice_control_core::source::Unreadable;

use super::Reconciler;
use crate::api::view;
use crate::file::Look;
use crate::store::StoreError;

/// Why a file cannot be followed.
#[derive(Debug)]
pub(crate) enum StartError {
    Store(StoreError),
    Unreadable(Unreadable),
    Refused { content: Vec<u8>, problems: Problems },
    OtherFile { followed: String, refusal: String },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Watched {
    path: String,
    standing: Arc<ArcSwap<view::File>>,
}

impl Watched {
    /// Its path.
    pub(super) fn file(&self) -> String {
        self.path.clone()
    }

    /// The digest of its present text.
    pub(super) fn text(&self) -> Option<Digest> {
        None
    }
}

impl Reconciler {
    pub(crate) async fn follow(&mut self, _path: &Path, _due: Arc<AtomicBool>) -> Result<(), StartError> {
        Ok(())
    }

    pub(crate) fn file(&self) -> Option<Arc<ArcSwap<view::File>>> {
        self.watched.as_ref().map(|watched| Arc::clone(&watched.standing))
    }

    pub(super) async fn look(&mut self, _look: Look) {}
}
