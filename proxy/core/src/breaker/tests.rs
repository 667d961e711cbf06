use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::validated::SlowCalls;

use super::*;
use crate::fixture::start;
use crate::sample::Class;

const SECOND: Duration = Duration::from_secs(1);
const TICK: Event = Event::Time { full: false };

fn half() -> Share {
    Share::from_ppm(500_000).unwrap()
}

fn counts(failed: u32, slow: u32, total: u32) -> Counts {
    Counts { total, failed, slow }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

#[test]
fn a_streak_or_a_ratio_with_its_volume_opens_it() {
    let slow = Some(SlowCalls { after: SECOND, ratio: half() });
    let policy = Breaker { slow, ..Breaker::default() };
    assert_eq!(judge(&policy, 4, counts(4, 0, 19)), None);
    assert_eq!(judge(&policy, 5, counts(5, 0, 5)), Some(Cause::Consecutive(5)));
    assert_eq!(judge(&policy, 1, counts(19, 0, 19)), None, "too few to tell");
    assert_eq!(judge(&policy, 1, counts(10, 0, 20)), Some(Cause::Ratio(10, 20)));
    assert_eq!(judge(&policy, 1, counts(9, 0, 20)), None);
    assert_eq!(judge(&policy, 0, counts(0, 10, 20)), Some(Cause::Slow(10, 20)));
    let none = Breaker { consecutive_failures: None, failure_ratio: None, slow: None, ..policy };
    assert_eq!(judge(&none, 1000, counts(1000, 1000, 1000)), None, "each can be off");
}

#[test]
fn a_tally_counts_streaks_and_slow_calls() {
    let slow = Some(SlowCalls { after: SECOND, ratio: half() });
    let policy = Breaker { slow, min_requests: 4, ..Breaker::default() };
    let (tally, now) = (Tally::default(), start());
    let sample = |class, took| Sample { class, took: Some(took), busy: None };
    let (good, bad) = (sample(Class::Success, SECOND / 2), sample(Class::GatewayFailure, SECOND / 2));
    let lazy = sample(Class::Success, 2 * SECOND);
    for (sample, cause) in [
        (bad, None),
        (good, None),
        (good, None),
        (good, None),
        (lazy, None),
        (lazy, None),
        (lazy, None),
        (lazy, Some(Cause::Slow(4, 8))),
    ] {
        assert_eq!(tally.note(&sample, &policy, now), cause);
    }
    let verdicts = [good, lazy, bad].map(|sample| verdict(&policy, &sample));
    assert_eq!(verdicts, [Event::Success, Event::Failure, Event::Failure], "a slow trial would open it at once again");
    tally.clear();
    assert!((0..3).all(|_| tally.note(&bad, &policy, now).is_none()));
    assert_eq!(tally.note(&bad, &policy, now), Some(Cause::Ratio(4, 4)));
}

/// Fails if impatient clients could end a streak, fill the volume or close a breaker, or if a hang that they leave is not seen.
#[test]
fn a_call_that_was_given_up_counts_only_as_slow() {
    let slow = Some(SlowCalls { after: SECOND, ratio: half() });
    let policy =
        Breaker { slow, min_requests: 4, consecutive_failures: Some(3), failure_ratio: None, ..Breaker::default() };
    let (gate, now) = (Gate::default(), start());
    let note = |state, class, took| {
        let pass = gate.room.enter().unwrap();
        let told = gate.note(state, pass, &Sample { class, took: Some(took), busy: None }, &policy, now);
        gate.room.leave(pass);
        told
    };
    assert_eq!(note(State::Closed, Class::Failure, SECOND), None);
    assert_eq!(note(State::Closed, Class::Failure, SECOND), None);
    (0..9).for_each(|_| assert_eq!(note(State::Closed, Class::Unanswered, SECOND / 2), None));
    assert_eq!(note(State::Closed, Class::Unanswered, 2 * SECOND), None);
    assert_eq!(note(State::Closed, Class::Failure, SECOND), Some(Event::Tripped(Cause::Consecutive(3))));
    gate.forget();
    (0..3).for_each(|_| assert_eq!(note(State::Closed, Class::Unanswered, 2 * SECOND), None));
    assert_eq!(note(State::Closed, Class::Unanswered, 2 * SECOND), Some(Event::Tripped(Cause::Slow(4, 4))));
    gate.room.admit(Some(1));
    assert_eq!(note(State::HalfOpen, Class::Unanswered, SECOND / 2), None, "a trial that says nothing");
    assert_eq!(note(State::HalfOpen, Class::Unanswered, 2 * SECOND), Some(Event::Failure));
}

#[test]
fn it_tells_its_way_and_why() {
    let (policy, mut now, mut rng) = (Breaker { close_after: 3, ..Breaker::default() }, start(), rng());
    let mut breaker = Circuit::default();
    let mut told = Vec::new();
    let events = [
        Event::Tripped(Cause::Consecutive(5)),
        Event::Success,
        TICK,
        Event::Failure,
        TICK,
        Event::Success,
        Event::Success,
        Event::Success,
    ];
    for event in events {
        if event == TICK {
            now = breaker.due().unwrap();
        }
        told.extend(breaker.step(event, &policy, now, &mut rng).map(|it| (it.to.as_str(), it.reason.as_str())));
    }
    let expected = [
        ("open", "consecutive_failures"),
        ("half_open", "waited"),
        ("open", "trial_failed"),
        ("half_open", "waited"),
        ("closed", "recovered"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn open_times_double_up_to_their_limit_and_start_over_after_a_long_peace() {
    let (policy, mut now, mut rng) = (Breaker::default(), start(), rng());
    let mut breaker = Circuit::default();
    breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
    for due in [5, 10, 20, 40, 60, 60] {
        let wait = breaker.due().unwrap() - now;
        assert!(
            wait >= SECOND * due * 8 / 10 && wait <= (SECOND * due * 12 / 10).min(60 * SECOND),
            "{wait:?} for {due}"
        );
        now = breaker.due().unwrap();
        breaker.step(TICK, &policy, now, &mut rng);
        breaker.step(Event::Failure, &policy, now, &mut rng);
    }
    for (peace, longest) in [(10 * SECOND, 60 * SECOND), (61 * SECOND, 6 * SECOND)] {
        now = breaker.due().unwrap();
        breaker.step(TICK, &policy, now, &mut rng);
        (0..10).for_each(|_| {
            breaker.step(Event::Success, &policy, now, &mut rng);
        });
        assert_eq!(breaker.state(), State::Closed);
        now += peace;
        breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
        let wait = breaker.due().unwrap() - now;
        assert!(wait <= longest && wait >= longest * 2 / 3, "{wait:?} after {peace:?}");
    }
}

#[test]
fn silence_gives_one_more_place_at_a_time() {
    let (policy, mut now, mut rng) = (Breaker::default(), start(), rng());
    let mut breaker = Circuit::default();
    breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
    now = breaker.due().unwrap();
    breaker.step(TICK, &policy, now, &mut rng);
    for lost in 1..5 {
        breaker.step(Event::Time { full: true }, &policy, now, &mut rng);
        let due = breaker.due().unwrap();
        breaker.step(Event::Time { full: true }, &policy, due - Duration::from_nanos(1), &mut rng);
        assert_eq!(breaker.admits(), Some(lost));
        breaker.step(Event::Time { full: true }, &policy, due, &mut rng);
        assert_eq!(breaker.admits(), Some(lost + 1));
        now = due;
    }
    breaker.step(TICK, &policy, now + 3600 * SECOND, &mut rng);
    assert_eq!(breaker.admits(), Some(5), "no requests are no silence");
}

/// Fails if places that were free at the last look count as taken since.
#[test]
fn a_trial_that_began_just_before_a_look_gives_no_place_away() {
    let (policy, mut now, mut rng) = (Breaker::default(), start(), rng());
    let mut breaker = Circuit::default();
    breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
    now = breaker.due().unwrap();
    breaker.step(TICK, &policy, now, &mut rng);
    breaker.step(Event::Time { full: true }, &policy, now + 60 * SECOND, &mut rng);
    assert_eq!(breaker.admits(), Some(1), "of the 60 s it was told of none that a place was taken");
}

/// A place is free until a request comes, and nobody tells when: whoever waits for that must not wait an open time more.
#[test]
fn it_is_looked_often_enough_whether_trials_are_silent() {
    let (policy, mut now, mut rng) = (Breaker::default(), start(), rng());
    let mut breaker = Circuit::default();
    breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
    let wait = breaker.due().unwrap() - now;
    now = breaker.due().unwrap();
    let taken = now + Duration::from_nanos(1);
    breaker.step(TICK, &policy, now, &mut rng);
    for _ in 0..100 {
        if breaker.admits() == Some(1) {
            now = breaker.due().unwrap();
            breaker.step(Event::Time { full: now >= taken }, &policy, now, &mut rng);
        }
    }
    let silent = now - taken;
    assert_eq!(breaker.admits(), Some(2));
    assert!(silent >= wait && silent <= wait * 11 / 10, "{silent:?} of {wait:?}");
}

#[test]
fn an_operators_word_holds_until_it_is_taken_back() {
    let (policy, now, mut rng) = (Breaker::default(), start(), rng());
    let trip = Event::Tripped(Cause::Consecutive(5));
    let mut breaker = Circuit::default();
    assert!(breaker.force(Some(Force::Closed), now).is_none());
    assert_eq!(breaker.step(trip, &policy, now, &mut rng), None);
    assert_eq!(breaker.view().opened, 0, "nor is it longer open later");
    assert_eq!(breaker.force(Some(Force::Open), now).unwrap().reason, Reason::Forced);
    assert_eq!(breaker.step(TICK, &policy, now + 3600 * SECOND, &mut rng), None);
    assert_eq!(breaker.due(), None);
    assert_eq!(breaker.remove(), None, "also when there is no policy");
    let released = breaker.force(None, now).unwrap();
    assert_eq!((released.to, released.reason), (State::HalfOpen, Reason::Released));
    assert_eq!(breaker.remove().unwrap().to, State::Closed);
}

/// What may be admitted, by what happened and nothing else: it sees each trial begin and end, not the machine's looks.
#[derive(Default)]
struct Model {
    successes: u32,
    granted: u32,
    running: u32,
    /// Since when every place has been taken and no trial has said anything.
    silent: Option<Instant>,
    /// For how long it was open last.
    wait: Duration,
}

impl Model {
    const fn admits(&self) -> u32 {
        1 + self.successes + self.granted
    }

    fn changed(&mut self, now: Instant) {
        self.silent = (self.running >= self.admits()).then(|| self.silent.unwrap_or(now));
    }

    fn begin(&mut self, now: Instant) {
        self.running += 1;
        self.changed(now);
    }

    fn succeed(&mut self, now: Instant) {
        (self.successes, self.running, self.silent) = (self.successes + 1, self.running - 1, None);
        self.changed(now);
    }

    /// One more place than is known of is due only to silence, for as long as it was open.
    fn grant(&mut self, admits: u32, now: Instant) {
        if admits == self.admits() + 1 {
            let silent = self.silent.map(|since| now - since);
            assert!(silent.is_some_and(|silent| silent >= self.wait), "silent for {silent:?} of {:?}", self.wait);
            (self.granted, self.silent) = (self.granted + 1, None);
        }
        assert_eq!(admits, self.admits());
        // It is looked once in a second: the first look finds it full, and the last that it still is.
        let silent = self.silent.map_or(Duration::ZERO, |since| now - since);
        assert!(silent < self.wait.max(SECOND) + 2 * SECOND, "silent for {silent:?}, and no place is given");
    }
}

proptest! {
    /// Guarantee: whatever happened before, a breaker closes within a bounded time once its endpoint answers, although
    /// trials of the bad time hang for good. Fails without the place given for silence (hung trials hold it half-open), if an
    /// open breaker waits for a request, and if the open time grows without its limit.
    #[test]
    fn it_always_closes_again(
        past in prop::collection::vec((0_u8..6, 0_u64..90_000), 0..80), close_after in 1_u32..20, seed: u64,
    ) {
        let policy = Breaker { close_after, ..Breaker::default() };
        let (mut breaker, mut now, mut rng) = (Circuit::default(), start(), StdRng::seed_from_u64(seed));
        for (kind, millis) in past {
            now += Duration::from_millis(millis);
            let event = match kind {
                0 => Event::Tripped(Cause::Consecutive(5)),
                1 => Event::Success,
                2 => Event::Failure,
                3 => Event::Time { full: true },
                4 => { breaker.force(Some(if millis % 2 == 0 { Force::Open } else { Force::Closed }), now); TICK }
                _ => { breaker.force(None, now); TICK }
            };
            breaker.step(event, &policy, now, &mut rng);
        }
        breaker.force(None, now);
        // As many as are admitted hang for good: the worst that trials can do.
        let hung = breaker.admits().unwrap_or(1);
        let bound = now + 2 * policy.max_open_time + 2 * SECOND;
        let mut running = hung;
        while breaker.state() != State::Closed {
            prop_assert!(now <= bound, "{breaker:?}");
            now += SECOND / 10;
            let full = breaker.admits().is_some_and(|most| running >= most);
            breaker.step(Event::Time { full }, &policy, now, &mut rng);
            if breaker.admits().is_some_and(|most| running < most) {
                breaker.step(Event::Success, &policy, now, &mut rng);
            } else if breaker.state() == State::Open {
                running = 1;
            }
        }
    }

    /// At once it admits one, the successes and one for each silent open time, by a model that knows when each trial began and
    /// ended. Fails if successes admit two, and if a place is given without the silence, or not given for it.
    #[test]
    fn trials_are_admitted_by_successes_and_silence(
        steps in prop::collection::vec((0_u8..12, 0_u64..1000), 1..400), seed: u64,
    ) {
        let policy = Breaker { close_after: 400, open_time: 3 * SECOND, ..Breaker::default() };
        let (mut breaker, mut now, mut rng) = (Circuit::default(), start(), StdRng::seed_from_u64(seed));
        let mut model = Model::default();
        for (kind, millis) in steps {
            now += SECOND - Duration::from_millis(millis);
            match (breaker.state(), kind) {
                (State::Closed, _) => {
                    breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
                    model = Model { wait: breaker.due().unwrap() - now, ..Model::default() };
                }
                (State::HalfOpen, 0) if model.running > 0 && millis < 100 => {
                    breaker.step(Event::Failure, &policy, now, &mut rng);
                    model = Model { wait: breaker.due().unwrap() - now, ..Model::default() };
                }
                (State::HalfOpen, 0 | 1) if model.running > 0 => {
                    breaker.step(Event::Success, &policy, now, &mut rng);
                    model.succeed(now);
                }
                (State::HalfOpen, 2..6) if model.running < model.admits() => model.begin(now),
                (State::HalfOpen | State::Open, _) => {}
            }
            now += Duration::from_millis(millis);
            let full = breaker.admits().is_some_and(|most| model.running >= most);
            breaker.step(Event::Time { full }, &policy, now, &mut rng);
            match breaker.admits() {
                Some(admits) => model.grant(admits, now),
                None => prop_assert!(breaker.state() != State::HalfOpen),
            }
        }
    }

    /// Every change has a reason that fits, and what is told is what is: a state changes when, and only when, that is told. Fails
    /// if it opens without a cause, or changes in silence.
    #[test]
    fn every_change_is_told_with_a_reason_that_fits(
        steps in prop::collection::vec((0_u8..8, 0_u64..8000), 1..200), seed: u64,
    ) {
        let policy = Breaker { close_after: 3, ..Breaker::default() };
        let (mut breaker, mut now, mut rng) = (Circuit::default(), start(), StdRng::seed_from_u64(seed));
        for (kind, millis) in steps {
            now += Duration::from_millis(millis);
            let before = breaker.state();
            let event = match kind {
                0 => Event::Tripped(Cause::Consecutive(5)),
                1 => Event::Failure,
                2..5 => Event::Success,
                _ => Event::Time { full: kind == 7 },
            };
            let told = breaker.step(event, &policy, now, &mut rng);
            prop_assert_eq!(told.map(|told| (told.from, told.to)), (before != breaker.state()).then_some((before, breaker.state())));
            let fits = told.is_none_or(|told| match (told.from, told.to) {
                (State::Closed, State::Open) => matches!(told.reason, Reason::Tripped(_)) && kind == 0,
                (State::Open, State::HalfOpen) => told.reason == Reason::Waited,
                (State::HalfOpen, State::Open) => told.reason == Reason::TrialFailed && kind == 1,
                (State::HalfOpen, State::Closed) => told.reason == Reason::Recovered(3),
                _ => false,
            });
            prop_assert!(fits, "{told:?}");
        }
    }

    /// An open time is within a fifth of its due, at most the limit, and the machine knows when it is over.
    #[test]
    fn open_times_are_bounded(base in 1_u64..30_000, longest in 1_u64..600_000, reopened in 0_u32..80, seed: u64) {
        let longest = Duration::from_millis(longest.max(base));
        let policy = Breaker { open_time: Duration::from_millis(base), max_open_time: longest, ..Breaker::default() };
        let (mut breaker, mut now, mut rng) = (Circuit::default(), start(), StdRng::seed_from_u64(seed));
        breaker.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
        for at in 0..=reopened {
            let wait = breaker.due().unwrap() - now;
            let due = policy.open_time.saturating_mul(1_u32.checked_shl(at).unwrap_or(u32::MAX)).min(longest);
            prop_assert!(wait >= due.mul_f64(0.79) && wait <= due.mul_f64(1.21).min(longest));
            now += wait;
            breaker.step(TICK, &policy, now, &mut rng);
            prop_assert_eq!(breaker.state(), State::HalfOpen);
            breaker.step(Event::Failure, &policy, now, &mut rng);
        }
    }
}
