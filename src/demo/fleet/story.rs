//! Plays the story of the fleet: changes the world, waits until every proxy has followed, and counts what clients saw.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::picture::Fleet;
use super::plan::{Act, RESTARTED, SEATS, STORY, Scene};
use super::stage::{Order, Stage};
use crate::demo::client::Client;
use crate::demo::load::{self, Record, Target};
use crate::demo::plan::REGIONS;
use crate::demo::report::{Part, seconds, slack};
use crate::demo::standing::Standing;
use crate::demo::story::{MAX_COMPLAINTS, STATUS_PERIOD, Seen, VIEW_PERIOD};
use crate::demo::tally::Tally;
use crate::demo::view::View;

/// Within this time the fleet runs its first revision and has probed every endpoint.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Clients of each proxy.
const CLIENTS: usize = 3;

/// How each proxy stands, by its own word.
type Standings = [Standing; SEATS.len()];

/// What clients saw, of all proxies and of each.
struct Tallies {
    all: Tally,
    nodes: [Tally; SEATS.len()],
}

/// How it is played.
pub(super) struct Round {
    pub(super) length: Duration,
    /// Round after round, until it is stopped.
    pub(super) endless: bool,
}

/// What was seen, and how long the restarted proxy took to serve again.
pub(super) struct Played {
    pub(super) seen: Seen,
    pub(super) restart: Option<Duration>,
}

/// Plays until the end of the story, or until `stop` is set. Must run on a `LocalSet`.
///
/// # Errors
/// A process cannot be started or ends by itself, or nobody reads the output.
pub(super) async fn play(
    stage: &mut Stage,
    view: &mut View,
    round: &Round,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<Played> {
    let standings = watch::Sender::new(Standings::default());
    let webs: [SocketAddr; SEATS.len()] = std::array::from_fn(|at| stage.nodes[at].web.address);
    for (at, node) in stage.nodes.iter().enumerate() {
        tokio::task::spawn_local(follow(at, node.status.address, standings.clone()));
    }
    let tallies = Rc::new(RefCell::new(Tallies { all: Tally::default(), nodes: Default::default() }));
    let targets: [Target; SEATS.len()] = webs.map(|web| Rc::new(Cell::new(web)));
    let clients = (0..CLIENTS).flat_map(|_| targets.iter().cloned()).collect();
    let mut frames = interval(VIEW_PERIOD);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (heard, stopped) = (standings.subscribe(), stop.subscribe());
    let mut player = Player {
        stage,
        view,
        round,
        frames,
        tallies: tallies.clone(),
        standings,
        heard,
        stop: stopped,
        targets,
        scene: &STORY[0],
        revision: 0,
        restart: None,
        seen: Seen::default(),
    };
    player.ready().await?;
    let load = tokio::task::spawn_local(load::run(clients, record(webs, tallies.clone()), stop.subscribe()));
    let played = player.rounds().await;
    stop.send_replace(true);
    load.await.context("the load ended early")?;
    let (restart, seen) = (player.restart, std::mem::take(&mut player.seen));
    played?;
    let tally = std::mem::take(&mut tallies.borrow_mut().all);
    Ok(Played { seen: Seen { tally, ..seen }, restart })
}

fn record(webs: [SocketAddr; SEATS.len()], tallies: Rc<RefCell<Tallies>>) -> Record {
    Rc::new(move |asked, answer, latency| {
        let (now, mut tallies) = (std::time::Instant::now(), tallies.borrow_mut());
        tallies.all.add(now, answer, latency);
        if let Some(at) = webs.iter().position(|web| *web == asked) {
            tallies.nodes[at].add(now, answer, latency);
        }
    })
}

/// Keeps up with what a proxy says of itself. One that does not answer is down.
async fn follow(at: usize, status: SocketAddr, standings: watch::Sender<Standings>) {
    let mut client = Client::new(status);
    let mut ticks = interval(STATUS_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = client.get("/metrics").await;
        let standing = answer.map(|answer| Standing::parse(&String::from_utf8_lossy(&answer.body))).unwrap_or_default();
        standings.send_if_modified(|standings| std::mem::replace(&mut standings[at], standing) != standing);
    }
}

struct Player<'a> {
    stage: &'a mut Stage,
    view: &'a mut View,
    round: &'a Round,
    frames: Interval,
    tallies: Rc<RefCell<Tallies>>,
    standings: watch::Sender<Standings>,
    heard: watch::Receiver<Standings>,
    stop: watch::Receiver<bool>,
    /// Whom the clients of each proxy ask.
    targets: [Target; SEATS.len()],
    scene: &'static Scene,
    /// That the story made last.
    revision: u64,
    restart: Option<Duration>,
    seen: Seen,
}

impl Player<'_> {
    async fn ready(&mut self) -> anyhow::Result<()> {
        self.stage.start_control()?;
        self.order(self.stage.apply(self.scene.phase.weights)).await?;
        for at in 0..SEATS.len() {
            self.stage.start_node(at)?;
        }
        if !self.wait(Instant::now() + START_DEADLINE).await? && !self.stopped() {
            bail!("the fleet was not ready within {} s; its logs say why", START_DEADLINE.as_secs());
        }
        Ok(())
    }

    async fn rounds(&mut self) -> anyhow::Result<()> {
        loop {
            let mut end = Instant::now();
            self.seen.parts.clear();
            for scene in &STORY {
                end += scene.phase.duration(self.round.length);
                self.part(scene, end).await?;
                if self.stopped() {
                    return Ok(());
                }
            }
            if !self.round.endless {
                return Ok(());
            }
        }
    }

    async fn part(&mut self, scene: &'static Scene, end: Instant) -> anyhow::Result<()> {
        let (began, phase) = (Instant::now(), &scene.phase);
        self.tallies.borrow_mut().all.begin_part();
        self.view.say(&format!("{}: {}", phase.name, phase.told))?;
        self.scene = scene;
        let acted = self.act(scene).await?;
        let followed = self.wait(end).await?.then(|| began.elapsed());
        if scene.act == Act::RestartProxy {
            self.restart = followed.map(|_| acted.elapsed());
            self.targets[RESTARTED].set(self.stage.nodes[RESTARTED].web.address);
        }
        let change = self.tallies.borrow_mut().all.begin_part();
        if let Some(took) = followed {
            self.view.say(&format!("{}: {} has followed after {}", phase.name, phase.follower, seconds(took)))?;
        }
        self.pass(end).await?;
        let steady = self.tallies.borrow_mut().all.begin_part();
        let edited = self.heard.borrow().iter().any(|standing| standing.revision > self.revision);
        let intended = (!edited).then(|| scene.shares());
        let part = Part { phase, followed, change, steady, intended, edited, whole: !self.stopped() };
        let room = MAX_COMPLAINTS.saturating_sub(self.seen.complaints.len());
        let complaints = part.complaints(slack(SEATS.len(), SEATS.len() * CLIENTS));
        self.seen.complaints.extend(complaints.into_iter().take(room));
        self.seen.parts.push(part);
        Ok(())
    }

    /// Makes the world as the scene tells it. Tells when the last of it was done.
    async fn act(&mut self, scene: &Scene) -> anyhow::Result<Instant> {
        let lost = scene.phase.lost;
        (0..REGIONS.len()).for_each(|region| self.stage.origins.set_alive(region, lost != Some(region)));
        match scene.act {
            Act::LoseRegion => {}
            Act::KillControl => self.stage.kill_control()?,
            Act::RestartProxy => return self.restart().await,
            Act::ReturnControl => {
                self.stage.start_control()?;
                self.order(self.stage.shift(scene.phase.weights)).await?;
            }
            Act::Change => self.order(self.stage.shift(scene.phase.weights)).await?,
        }
        Ok(Instant::now())
    }

    /// Ends a proxy and starts it again. Its clients ask its neighbour meanwhile, as a balancer before both would have it.
    async fn restart(&mut self) -> anyhow::Result<Instant> {
        let neighbour = self.stage.nodes[RESTARTED - 1].web.address;
        self.targets[RESTARTED].set(neighbour);
        if let Some(process) = self.stage.take_node(RESTARTED) {
            self.showing(process.end()).await??;
        }
        self.standings.send_modify(|standings| standings[RESTARTED] = Standing::default());
        let started = Instant::now();
        self.stage.start_node(RESTARTED)?;
        Ok(started)
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.revision = self.showing(order.send()).await??;
        Ok(())
    }

    /// Shows how things are until this is done.
    async fn showing<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                _ = self.frames.tick() => self.show()?,
            }
        }
    }

    /// Shows how things are until every proxy has followed, `end` has come or the demo is stopped. Tells whether all have.
    async fn wait(&mut self, end: Instant) -> anyhow::Result<bool> {
        loop {
            let standings = *self.heard.borrow_and_update();
            if self.scene.is_followed(&standings, self.revision) {
                return Ok(true);
            }
            tokio::select! {
                biased;
                () = told(&mut self.stop) => return Ok(false),
                () = sleep_until(end) => return Ok(false),
                _ = self.frames.tick() => self.show()?,
                _ = self.heard.changed() => {}
            }
        }
    }

    /// Shows how things are until `end` has come or the demo is stopped.
    async fn pass(&mut self, end: Instant) -> anyhow::Result<()> {
        let mut stop = self.stop.clone();
        let ended = async move {
            tokio::select! {
                biased;
                () = told(&mut stop) => {}
                () = sleep_until(end) => {}
            }
        };
        self.showing(ended).await
    }

    fn show(&mut self) -> anyhow::Result<()> {
        self.stage.check()?;
        let (tallies, standings) = (self.tallies.borrow(), *self.heard.borrow());
        self.view.show(&Fleet {
            scene: self.scene,
            revision: self.revision,
            has_control: self.stage.has_control(),
            standings: &standings,
            tallies: &tallies.nodes,
            all: &tallies.all,
        })?;
        Ok(())
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }
}

/// Waits until the demo is told to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the demo.
    let _ = stop.wait_for(|stop| *stop).await;
}
