//! The followed file: what a look at it becomes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use sluice_config::Problems;
use sluice_config::overlay::{Author, Reason as Why};
use sluice_config::value::Digest;
use sluice_control_core::change::{self, Refusal, Written};
use sluice_control_core::file::{Cause, Effect, Facts, FileSource, HeldBack, Reading, Reason, Standing, Unreadable};

use super::{Decided, Reconciler, Source, Who, WriteError};
use crate::api::view;
use crate::events::News;
use crate::file::Look;
use crate::read::read;
use crate::store::{CommitError, StoreError};

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

/// Who wants to know how the file stands.
pub(crate) type Stands = Arc<dyn Fn(Standing) + Send + Sync>;

/// A file that is followed.
pub(super) struct Watched {
    path: String,
    source: FileSource,
    /// Set when the next look must read the file, even if nothing shows that it was written.
    due: Arc<AtomicBool>,
    standing: Arc<ArcSwap<view::File>>,
    stands: Option<Stands>,
    /// The text that was read last.
    last: Option<Vec<u8>>,
    /// Why it is not what is live, in words, as long as that is so.
    why: String,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).field("source", &self.source).finish_non_exhaustive()
    }
}

impl Watched {
    fn new(path: &Path, due: Arc<AtomicBool>, stands: Option<Stands>) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let file = view::File { path: path.clone(), accepted: true, standing: String::new(), parked: None, refused: 0 };
        Self {
            path,
            source: FileSource::default(),
            due,
            standing: Arc::new(ArcSwap::from_pointee(file)),
            stands,
            last: None,
            why: String::new(),
        }
    }

    /// Its path.
    pub(super) fn file(&self) -> String {
        self.path.clone()
    }

    /// The digest of the text that it held when it was last read.
    pub(super) fn text(&self) -> Option<Digest> {
        self.last.as_deref().map(Digest::of)
    }

    fn publish(&self, parked: Option<Digest>) {
        let standing = self.source.standing();
        let words = match (standing.accepted, standing.held_back) {
            (_, Some(HeldBack::Parked)) => Reason::Parked.to_string(),
            (_, Some(HeldBack::Frozen)) => Reason::Frozen.to_string(),
            (true, None) => Reason::Unchanged.to_string(),
            (false, None) => self.why.clone(),
        };
        let file = view::File {
            path: self.path.clone(),
            accepted: standing.accepted && standing.held_back.is_none(),
            standing: words,
            parked: parked.filter(|parked| self.text() == Some(*parked)),
            refused: standing.refused,
        };
        self.standing.store(Arc::new(file));
        if let Some(stands) = &self.stands {
            stands(standing);
        }
    }
}

impl Reconciler {
    /// Begins with what the file holds.
    ///
    /// # Errors
    /// When there is nothing else to begin with.
    pub(crate) async fn follow(
        &mut self,
        path: &Path,
        due: Arc<AtomicBool>,
        stands: Option<Stands>,
    ) -> Result<(), StartError> {
        let watched = Watched::new(path, due, stands);
        let (head, same) = match self.head() {
            Some(current) => {
                let followed = current.head.revision.file.clone();
                (true, followed.as_ref() == Some(&watched.path))
            }
            None => (false, true),
        };
        let content = read(path);
        if !head || !same {
            self.must_apply(&watched.path, &content)?;
        }
        self.watched = Some(watched);
        // Another file is named by whoever starts this, so nothing that holds automation back holds it back.
        let cause = if same { Cause::Started } else { Cause::Asked };
        self.look(Look { content, cause }).await;
        match self.head() {
            Some(_) => Ok(()),
            None => Err(StartError::Store(StoreError::Unavailable("the first document was not stored".to_owned()))),
        }
    }

    /// Refuses what could not be applied, where what is there must not go on in its place.
    fn must_apply(&self, path: &str, content: &Result<Vec<u8>, Unreadable>) -> Result<(), StartError> {
        let content = content.as_ref().map_err(|why| StartError::Unreadable(why.clone()))?;
        let written = match self.equipment.judge.file(content) {
            Ok(written) => written,
            Err(problems) => return Err(StartError::Refused { content: content.clone(), problems }),
        };
        let Some(current) = self.head() else { return Ok(()) };
        match change::apply(Some(&current.head), &written, false, self.equipment.judge.environment()) {
            Ok(_) | Err(Refusal::Unchanged(_)) => Ok(()),
            Err(refusal) => {
                let followed = current.head.revision.file.clone().unwrap_or_else(|| path.to_owned());
                Err(StartError::OtherFile { followed, refusal: refusal.to_string() })
            }
        }
    }

    /// How the file stands; nothing in API mode.
    pub(crate) fn file(&self) -> Option<Arc<ArcSwap<view::File>>> {
        self.watched.as_ref().map(|watched| Arc::clone(&watched.standing))
    }

    /// Acts on what a look at the file has found.
    pub(super) async fn look(&mut self, look: Look) {
        let Some(mut watched) = self.watched.take() else { return };
        let reading = match &look.content {
            Ok(bytes) => Reading::Bytes(bytes),
            Err(why) => Reading::Unreadable(why),
        };
        if let Ok(bytes) = &look.content {
            watched.last = Some(bytes.clone());
        }
        let head = self.head();
        let facts = Facts::of(head.as_deref().map(|current| &*current.head), self.now());
        let judge = &self.equipment.judge;
        let (effect, reason) = watched.source.step(reading, look.cause, &facts, |bytes| judge.file(bytes));
        self.tell(&mut watched, &reason, look.cause);
        match effect {
            Effect::Keep => {}
            Effect::Tell(problems) => self.report(&mut watched, &problems).await,
            Effect::Propose(written) => self.propose(&mut watched, &written, look.cause).await,
        }
        let head = self.head();
        let facts = Facts::of(head.as_deref().map(|current| &*current.head), self.now());
        watched.due.store(watched.source.is_due(&facts), Ordering::Relaxed);
        watched.publish(facts.parked);
        self.watched = Some(watched);
    }

    /// Looks at the text that was read last as it stands to what is live now.
    pub(super) async fn reread(&mut self) {
        let last = self.watched.as_ref().and_then(|watched| watched.last.clone());
        if let Some(bytes) = last {
            self.look(Look { content: Ok(bytes), cause: Cause::Watch }).await;
        }
    }

    fn tell(&self, watched: &mut Watched, reason: &Reason, cause: Cause) {
        let file = &watched.path;
        if reason.is_fault() {
            tracing::error!(file, "{reason}");
            watched.why = reason.to_string();
        } else if reason.is_news() || cause == Cause::Asked {
            tracing::info!(file, "{reason}");
        } else {
            tracing::trace!(file, "{reason}");
        }
        if reason.is_news() {
            self.equipment.events.tell(News::File { what: reason.to_string() });
        }
    }

    /// Tells what is wrong with the file, and writes down that it was refused.
    async fn report(&self, watched: &mut Watched, problems: &Problems) {
        let more = problems.count().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(", and {more} more (`sluice check` shows all)") };
        if let Some(first) = problems.problems.first() {
            watched.why = format!("{}: {first}{more}", Reason::Refused);
        }
        let file = &watched.path;
        problems.problems.iter().for_each(|problem| tracing::error!(file, "{problem}"));
        if problems.omitted > 0 {
            tracing::error!(file, "and {} more problems", problems.omitted);
        }
        let error = WriteError::from(Refusal::Problems(problems.clone()));
        self.refused(&Who::file(), "apply", watched.path.clone(), None, &error).await;
    }

    /// Applies what the file holds. While the store fails, the next reading tries again.
    async fn propose(&self, watched: &mut Watched, written: &Written, cause: Cause) {
        let head = self.head();
        let present = head.as_deref().map(|current| &*current.head);
        let proposal = change::apply(present, written, false, self.equipment.judge.environment());
        let answer = match proposal {
            Err(refusal) => Err(refusal),
            Ok(proposal) => {
                let who = Who::file();
                let decided = Decided {
                    proposal,
                    who: &who,
                    reason: reason(cause),
                    action: "apply",
                    target: watched.path.clone(),
                    once: None,
                    source: Source::File(watched.path.clone()),
                };
                match self.commit(head.as_deref(), decided).await {
                    Ok(done) => Ok(done.revision.id),
                    Err(error) => return self.postpone(&error).await,
                }
            }
        };
        let head = self.head();
        let facts = Facts::of(head.as_deref().map(|current| &*current.head), self.now());
        let heard = watched.source.hear(answer.as_ref().map(|id| *id), &facts);
        self.tell(watched, &heard, cause);
        if let Err(refusal) = answer
            && heard.is_fault()
        {
            self.refused(&Who::file(), "apply", watched.path.clone(), None, &refusal.into()).await;
        }
    }

    async fn postpone(&self, error: &CommitError) {
        tracing::error!(%error, "the file's document is not applied yet; it is tried again");
        if let Err(error) = self.refresh().await {
            tracing::error!(%error, "the head cannot be read");
        }
    }
}

fn reason(cause: Cause) -> Why {
    let words = match cause {
        Cause::Watch => "the file changed",
        Cause::Started => "the file when the process began",
        Cause::Asked => "an operator asked for the file",
    };
    words.parse().expect("a short sentence is a reason")
}

impl Who {
    /// The followed file.
    fn file() -> Self {
        let author: Author = "file".parse().expect("a word is an author");
        Self { author, origin: "file".to_owned() }
    }
}
