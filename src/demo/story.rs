//! Plays the story: changes the world, waits until the proxy has followed, and counts what clients saw meanwhile.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::client::Client;
use super::intended::Intended;
use super::load;
use super::origin::Origins;
use super::picture::Shares;
use super::plan::{Phase, REGIONS, STORY, document};
use super::report::{Part, seconds};
use super::standing::Standing;
use super::tally::Tally;
use super::view::View;

/// Between two readings of the proxy's status.
pub(super) const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// Between two drawings.
pub(super) const VIEW_PERIOD: Duration = Duration::from_millis(500);

/// Within this time the proxy listens and has probed every endpoint.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// Complaints that an endless demo remembers.
pub(super) const MAX_COMPLAINTS: usize = 20;

/// For whom the document is opened.
const COMMENT: &str =
    "# The document of `sluice demo`. Change a weight while it runs: it takes effect within a second.\n";

/// What the story is played on.
pub(super) struct Stage {
    pub(super) origins: Origins,
    pub(super) document: PathBuf,
    pub(super) web: SocketAddr,
    pub(super) status: SocketAddr,
    /// How far a count may be from its share.
    pub(super) slack: u64,
    /// One round of the story.
    pub(super) round: Duration,
    /// Round after round, until it is stopped.
    pub(super) endless: bool,
}

impl Stage {
    /// The story's document with these weights.
    pub(super) fn text(&self, weights: [u32; 2]) -> String {
        COMMENT.to_owned() + &document(self.web.port(), self.origins.ports(), weights)
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of an endless demo the last round.
    pub(super) parts: Vec<Part>,
    pub(super) tally: Tally,
    pub(super) complaints: Vec<String>,
}

/// Plays until the end of the story, or until `stop` is set. Must run on a `LocalSet`.
///
/// # Errors
/// The document cannot be written, nobody reads the output, or the proxy never became ready.
pub(super) async fn play(stage: &Stage, view: &mut View, stop: &watch::Sender<bool>) -> anyhow::Result<Seen> {
    let standing = watch::Sender::new(Standing::default());
    let followed = tokio::task::spawn_local(follow(stage.status, standing.clone()));
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut frames = interval(VIEW_PERIOD);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut player = Player {
        stage,
        view,
        frames,
        tally: tally.clone(),
        standing: standing.subscribe(),
        stop: stop.subscribe(),
        lost: None,
        weights: STORY[0].weights,
        intended: Intended::new(stage.document.clone()),
        seen: Seen::default(),
    };
    player.ready().await?;
    let targets = (0..load::CONNECTIONS).map(|_| Rc::new(Cell::new(stage.web))).collect();
    let counted = tally.clone();
    let record: load::Record =
        Rc::new(move |_, answer, latency| counted.borrow_mut().add(Instant::now().into_std(), answer, latency));
    let load = tokio::task::spawn_local(load::run(targets, record, stop.subscribe()));
    let played = player.rounds().await;
    stop.send_replace(true);
    load.await.context("the load ended early")?;
    followed.abort();
    played?;
    Ok(Seen { tally: tally.take(), ..player.seen })
}

/// Keeps up with what the proxy says of itself. A proxy that does not answer says nothing new.
async fn follow(status: SocketAddr, standing: watch::Sender<Standing>) {
    let mut client = Client::new(status);
    let mut ticks = interval(STATUS_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(answer) = client.get("/metrics").await {
            standing.send_replace(Standing::parse(&String::from_utf8_lossy(&answer.body)));
        }
    }
}

struct Player<'a> {
    stage: &'a Stage,
    view: &'a mut View,
    frames: Interval,
    tally: Rc<RefCell<Tally>>,
    standing: watch::Receiver<Standing>,
    stop: watch::Receiver<bool>,
    /// The region whose origins are dead.
    lost: Option<usize>,
    /// As the story wrote them last.
    weights: [u32; 2],
    intended: Intended,
    seen: Seen,
}

impl Player<'_> {
    async fn ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START_DEADLINE;
        let ready = self.wait(end, |standing| standing.revision > 0 && standing.is_as_told(None)).await?;
        if !ready && !self.stopped() {
            bail!("the proxy was not ready within {} s; its log says why", START_DEADLINE.as_secs());
        }
        Ok(())
    }

    async fn rounds(&mut self) -> anyhow::Result<()> {
        loop {
            let mut end = Instant::now();
            self.seen.parts.clear();
            for phase in &STORY {
                end += phase.duration(self.stage.round);
                self.part(phase, end).await?;
                if self.stopped() {
                    return Ok(());
                }
            }
            if !self.stage.endless {
                return Ok(());
            }
        }
    }

    async fn part(&mut self, phase: &'static Phase, end: Instant) -> anyhow::Result<()> {
        let began = Instant::now();
        self.tally.borrow_mut().begin_part();
        let edited = self.is_edited();
        self.view.say(&format!("{}: {}", phase.name, phase.words(edited)))?;
        let revision = self.begin(phase, edited)?;
        let edition = self.intended.refresh();
        let as_told = move |standing: &Standing| standing.revision >= revision && standing.is_as_told(phase.lost);
        let followed = self.wait(end, as_told).await?.then(|| began.elapsed());
        let change = self.tally.borrow_mut().begin_part();
        self.tell(phase, followed)?;
        self.wait(end, |_| false).await?;
        let steady = self.tally.borrow_mut().begin_part();
        let changed = self.intended.refresh() != edition;
        let intended = self.intended.shares(|region| phase.lost != Some(region)).filter(|_| !changed);
        let edited = changed || self.is_edited();
        let part = Part { phase, followed, change, steady, intended, edited, whole: !self.stopped() };
        self.complain(&part);
        self.seen.parts.push(part);
        Ok(())
    }

    /// Makes the world as the phase tells it. Returns the revision in which the proxy will have followed.
    fn begin(&mut self, phase: &Phase, edited: bool) -> anyhow::Result<u64> {
        self.raise(phase.lost);
        let revision = self.standing.borrow().revision;
        if phase.weights == self.weights || edited {
            return Ok(revision);
        }
        self.weights = phase.weights;
        self.write().with_context(|| format!("cannot write {}", self.stage.document.display()))?;
        Ok(revision + 1)
    }

    /// Lets origins die and come back.
    fn raise(&mut self, lost: Option<usize>) {
        if lost != self.lost {
            for region in 0..REGIONS.len() {
                self.stage.origins.set_alive(region, lost != Some(region));
            }
            self.lost = lost;
        }
    }

    /// Writes beside the document and renames, so that no reader meets half of it.
    fn write(&self) -> io::Result<()> {
        let new = self.stage.document.with_extension("new");
        std::fs::write(&new, self.stage.text(self.weights))?;
        std::fs::rename(&new, &self.stage.document)
    }

    /// Whether the user wrote into the document; then it is the user's, and the story changes it no more.
    fn is_edited(&mut self) -> bool {
        self.intended.refresh();
        !self.intended.is(&self.stage.text(self.weights))
    }

    fn tell(&mut self, phase: &Phase, followed: Option<Duration>) -> io::Result<()> {
        match followed {
            Some(took) => {
                self.view.say(&format!("{}: {} has followed after {}", phase.name, phase.follower, seconds(took)))
            }
            None => Ok(()),
        }
    }

    fn complain(&mut self, part: &Part) {
        let room = MAX_COMPLAINTS.saturating_sub(self.seen.complaints.len());
        self.seen.complaints.extend(part.complaints(self.stage.slack).into_iter().take(room));
    }

    /// Shows how things are until `done` holds, `end` has come or the demo is stopped. Tells whether `done` held.
    async fn wait(&mut self, end: Instant, done: impl Fn(&Standing) -> bool) -> io::Result<bool> {
        loop {
            let standing = *self.standing.borrow_and_update();
            if done(&standing) {
                return Ok(true);
            }
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return Ok(false),
                () = sleep_until(end) => return Ok(false),
                _ = self.frames.tick() => {
                    self.intended.refresh();
                    let shares = Shares { intended: &self.intended, tally: &self.tally.borrow(), standing: &standing };
                    self.view.show(&shares)?;
                }
                _ = self.standing.changed() => {}
            }
        }
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }
}
