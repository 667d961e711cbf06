//! Any sequence of what a fleet of four processes under two names can do.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What the world does.
#[derive(Debug, Clone)]
enum Event {
    Connect(usize),
    Restart(usize),
    Drop(usize),
    Answer(usize, Answer),
    Report(usize),
    Want(u8),
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Ack,
    Nack,
    Lost,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let answer = prop_oneof![3 => Just(Answer::Ack), 2 => Just(Answer::Nack), 1 => Just(Answer::Lost)];
    let event = prop_oneof![
        2 => (0..4_usize).prop_map(Event::Connect),
        1 => (0..4_usize).prop_map(Event::Restart),
        1 => (0..4_usize).prop_map(Event::Drop),
        6 => (0..4_usize, answer).prop_map(|(who, answer)| Event::Answer(who, answer)),
        2 => (0..4_usize).prop_map(Event::Report),
        3 => (0..4_u8).prop_map(Event::Want),
        1 => (0..40_u64).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 1..120)
}

/// A process as it would behave: two share each of two names.
#[derive(Debug, Default, Clone)]
struct Process {
    incarnation: u64,
    connection: Option<u64>,
    /// What it was sent and has not answered, with whether it was whole.
    order: Option<(Numbered, bool)>,
    /// The text that it holds.
    text: Option<Numbered>,
    runs: Option<Numbered>,
    /// Digests that it refused since another was wanted.
    refused: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct World {
    fleet: Fleet,
    processes: [Process; 4],
    now: u64,
    head: u64,
    wanted: Option<Numbered>,
    connections: u64,
    incarnations: u64,
}

impl World {
    fn node(who: usize) -> &'static str {
        ["a", "a", "b", "b"][who]
    }

    /// Who holds this connection.
    fn holder(&mut self, connection: ConnectionId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|one| one.connection == Some(connection.0))
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Forget { .. } => {}
                Effect::Close { connection, .. } => {
                    if let Some(process) = self.holder(connection) {
                        process.connection = None;
                        process.order = None;
                    }
                }
                Effect::Send { connection, revision, base, .. } => {
                    assert_eq!(Some(revision), self.wanted, "only the newest goes out");
                    let process = self.holder(connection).expect("an order goes to a connection that is held");
                    assert!(process.order.is_none(), "a second order on its way");
                    assert!(!process.refused.contains(&revision.digest.to_string()), "a parked digest is sent");
                    assert!(base.is_none() || base == process.text, "{base:?} is not the base {:?}", process.text);
                    process.order = Some((revision, base.is_none()));
                    process.text = Some(revision);
                }
            }
        }
        for pair in [[0, 1], [2, 3]] {
            let held = pair.iter().filter(|who| self.processes[**who].connection.is_some()).count();
            assert!(held <= 1, "two connections of one name");
        }
    }

    fn step(&mut self, event: Event) {
        let now = at(self.now);
        match event {
            Event::Wait(seconds) => {
                self.now += seconds;
                let effects = self.fleet.tick(at(self.now));
                self.carry_out(effects);
            }
            Event::Want(content) => {
                self.head += 1;
                let wanted = revision(self.head, &content.to_string());
                self.wanted = Some(wanted);
                let kept = wanted.digest.to_string();
                self.processes.iter_mut().for_each(|one| one.refused.retain(|digest| *digest == kept));
                let (effects, _) = self.fleet.want(HISTORY, wanted, now);
                self.carry_out(effects);
            }
            Event::Restart(who) => {
                self.step(Event::Drop(who));
                self.incarnations += 1;
                let process = &mut self.processes[who];
                *process = Process { incarnation: self.incarnations, runs: process.runs, ..Process::default() };
            }
            Event::Drop(who) => {
                if let Some(connection) = self.processes[who].connection.take() {
                    self.processes[who].order = None;
                    self.fleet.leave(&name(Self::node(who)), ConnectionId(connection), now);
                }
            }
            Event::Connect(who) => self.connect(who, now),
            Event::Report(who) => {
                let report = Reply::Report(sluice_config::wire::Report { sequence: 1, pools: vec![] });
                self.say(who, &report, now);
            }
            Event::Answer(who, answer) => self.answer(who, answer, now),
        }
    }

    fn connect(&mut self, who: usize, now: Timestamp) {
        self.connections += 1;
        let process = &mut self.processes[who];
        // The other process of the name may be refused, or it may be replaced: both are told by a Close.
        let old = process.connection.replace(self.connections);
        process.order = None;
        process.text = process.runs;
        let hello = hello(Self::node(who), process.incarnation, process.runs.map(running));
        let (mut effects, reason) = self.fleet.join(hello, ConnectionId(self.connections), "10.0.0.1:5", now);
        if reason == Reason::Restarted {
            // The name has changed hands, perhaps back: what was refused before is not known any more.
            self.processes[who].refused.clear();
        }
        if let Some(old) = old {
            let told = effects
                .iter()
                .position(|effect| matches!(effect, Effect::Close { connection, .. } if connection.0 == old));
            assert!(told.is_some() || self.processes[who].connection.is_some());
            effects.retain(|effect| !matches!(effect, Effect::Close { connection, .. } if connection.0 == old));
        }
        self.carry_out(effects);
    }

    fn say(&mut self, who: usize, reply: &Reply, now: Timestamp) {
        if let Some(connection) = self.processes[who].connection {
            let (effects, _) = self.fleet.hear(&name(Self::node(who)), ConnectionId(connection), reply, now);
            self.carry_out(effects);
        }
    }

    fn answer(&mut self, who: usize, answer: Answer, now: Timestamp) {
        let Some((order, whole)) = self.processes[who].order.take() else { return };
        let process = &mut self.processes[who];
        let reply = match answer {
            Answer::Ack => {
                process.runs = Some(order);
                ack(order)
            }
            Answer::Lost if !whole => {
                process.text = None;
                Reply::Lost { id: order.id }
            }
            Answer::Nack | Answer::Lost => {
                if self.wanted.is_some_and(|wanted| wanted.digest == order.digest) {
                    process.refused.insert(order.digest.to_string());
                }
                nack(order, false)
            }
        };
        self.say(who, &reply, now);
    }

    /// Every order is answered with yes until none is left.
    fn settle(&mut self) {
        for _ in 0..3 {
            (0..4).for_each(|who| self.step(Event::Answer(who, Answer::Ack)));
        }
        assert!(self.processes.iter().all(|one| one.order.is_none()));
    }

    /// What the fleet believes is what is.
    fn check(&self) {
        let now = at(self.now);
        let standing: BTreeMap<NodeName, NodeStanding> =
            self.fleet.standing(now).into_iter().map(|one| (one.node.clone(), one)).collect();
        for (who, process) in self.processes.iter().enumerate().filter(|(_, one)| one.connection.is_some()) {
            let told = &standing[&name(Self::node(who))];
            assert!(told.connected);
            assert_eq!(told.running, process.runs);
            let runs_it =
                process.runs.is_some_and(|runs| self.wanted.is_none_or(|wanted| wanted.digest == runs.digest));
            let refuses = self.wanted.is_some_and(|wanted| process.refused.contains(&wanted.digest.to_string()));
            match &told.state {
                State::Away => {}
                State::Applied => assert!(runs_it || self.wanted.is_none()),
                State::Refused { .. } => assert!(refuses && !runs_it),
                State::Pending => assert!(process.order.is_some() && !runs_it),
            }
            assert_eq!(told.age_ms.is_none(), runs_it || self.wanted.is_none());
        }
        self.check_counts(now);
    }

    fn check_counts(&self, now: Timestamp) {
        let summary = self.fleet.summary(now);
        assert_eq!(summary.nodes, summary.applied + summary.pending + summary.refused + summary.away);
        if let Some(wanted) = self.wanted {
            let applied = self.fleet.applied(wanted, now);
            assert_eq!(
                [applied.running, applied.pending.len(), applied.nacked.len(), applied.away.len()],
                [summary.applied, summary.pending, summary.refused, summary.away]
            );
        }
    }
}

proptest! {
    /// Whatever happens: one order at a time, only the newest, on its true base, never what is parked, one connection of
    /// a name; and when all is answered, every node that is connected runs what is wanted or has refused it.
    #[test]
    fn the_invariants_hold(events in events()) {
        let mut world = World::default();
        (0..4).for_each(|who| world.step(Event::Restart(who)));
        for event in events {
            world.step(event);
            world.check();
        }
        world.settle();
        world.check();
        for process in world.processes.iter().filter(|one| one.connection.is_some()) {
            let Some(wanted) = world.wanted else { break };
            prop_assert!(process.runs == Some(wanted) || process.refused.contains(&wanted.digest.to_string()));
        }
    }
}
