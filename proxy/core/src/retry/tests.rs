use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::validated::GrpcStatus;

use super::*;

const REPEATABLE: [Repeatable; 3] = [Repeatable::Safe, Repeatable::Idempotent, Repeatable::Never];
const BODIES: [Body; 4] = [Body::None, Body::Whole, Body::Kept, Body::Consumed];

/// Everything that can be tried again is.
fn eager() -> Retries {
    Retries {
        causes: vec![RetryCause::ConnectFailure, RetryCause::Reset, RetryCause::Timeout],
        statuses: vec![429, 500, 503],
        grpc_statuses: vec![GrpcStatus::Unavailable],
        ..Retries::default()
    }
}

fn policies() -> impl Strategy<Value = Retries> {
    let causes = [RetryCause::ConnectFailure, RetryCause::Reset, RetryCause::Timeout].to_vec();
    let grpc = [GrpcStatus::Internal, GrpcStatus::Unavailable].to_vec();
    let lists = (
        prop::sample::subsequence(causes, 0..=3),
        prop::sample::subsequence(vec![429, 500, 503], 0..=3),
        prop::sample::subsequence(grpc, 0..=2),
    );
    let times = (1_u64..500, 0_u64..2_000, 0_u64..2_000);
    (1_u32..=10, lists, times).prop_map(|(attempts, (causes, statuses, grpc_statuses), (base, more, asked))| Retries {
        attempts,
        causes,
        statuses,
        grpc_statuses,
        backoff: RetryBackoff { base: Duration::from_millis(base), max: Duration::from_millis(base + more) },
        max_retry_after: Duration::from_millis(asked),
        ..Retries::default()
    })
}

fn every_attempt() -> impl Iterator<Item = Attempt> {
    let endings = Ending::ALL.into_iter().chain([Ending::Status(429), Ending::Status(503)]);
    endings.flat_map(|ending| {
        (1..=11).flat_map(move |attempts| {
            REPEATABLE.into_iter().flat_map(move |repeatable| {
                [false, true].into_iter().flat_map(move |sent| {
                    BODIES.into_iter().flat_map(move |body| {
                        let attempt =
                            move |(grpc, stale)| Attempt { ending, grpc, attempts, stale, repeatable, sent, body };
                        [(None, false), (None, true), (Some(0), false), (Some(14), false)].into_iter().map(attempt)
                    })
                })
            })
        })
    })
}

fn cannot_have_sent(ending: Ending) -> bool {
    let connects = [Ending::ConnectRefused, Ending::ConnectFailed, Ending::ConnectTimeout, Ending::ConnectTls];
    connects.contains(&ending) || ending == Ending::ConnectionLimit
}

fn attempt(ending: Ending, repeatable: Repeatable, body: Body) -> Attempt {
    Attempt { ending, grpc: None, attempts: 1, stale: false, repeatable, sent: !cannot_have_sent(ending), body }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Guarantee 8: a request whose method is not idempotent, and that may have been sent, is never sent again; but for
    /// a gRPC call after a status that the policy names.
    #[test]
    fn what_may_have_been_done_is_not_done_again(policy in policies()) {
        for attempt in every_attempt().filter(|a| a.repeatable == Repeatable::Never && !cannot_have_sent(a.ending)) {
            let answered = matches!(attempt.ending, Ending::Status(_));
            let declared = answered && attempt.grpc == Some(14) && policy.grpc_statuses.contains(&GrpcStatus::Unavailable);
            if (attempt.sent || answered) && !declared {
                prop_assert!(attempt.judge(&policy).is_err(), "{:?}", attempt);
            }
        }
    }

    /// But for the first on a stale connection, which is none.
    #[test]
    fn attempts_are_bounded_and_a_consumed_body_ends_them(policy in policies()) {
        for attempt in every_attempt() {
            let free = attempt.ending == Ending::StalePooled && !attempt.stale;
            let spent = attempt.attempts >= policy.attempts && !free;
            if spent || attempt.body == Body::Consumed {
                prop_assert!(attempt.judge(&policy).is_err(), "{:?}", attempt);
            }
        }
    }

    /// No cause and no status: nothing but a stale connection is survived.
    #[test]
    fn nothing_is_tried_again_that_the_policy_does_not_name(policy in policies()) {
        for attempt in every_attempt().filter(|attempt| attempt.judge(&policy).is_ok()) {
            let named = match attempt.ending {
                Ending::ConnectionLimit => true,
                Ending::StalePooled if !attempt.stale => true,
                Ending::ResetBeforeHead | Ending::StreamRefused | Ending::StalePooled => policy.causes.contains(&RetryCause::Reset),
                Ending::PerTryTimeout => policy.causes.contains(&RetryCause::Timeout),
                Ending::Status(_) => attempt.is_listed(&policy),
                ending => cannot_have_sent(ending) && policy.causes.contains(&RetryCause::ConnectFailure),
            };
            prop_assert!(named, "{:?}", attempt);
        }
    }

    /// What is sent again without being charged cannot have reached an origin.
    #[test]
    fn only_what_was_not_sent_is_free(policy in policies()) {
        for attempt in every_attempt() {
            if let Ok(again) = attempt.judge(&policy) {
                prop_assert!(again.is_charged() || cannot_have_sent(attempt.ending) || !attempt.sent, "{:?}", attempt);
                prop_assert!(again.is_charged() || !matches!(attempt.ending, Ending::Status(_)), "{:?}", attempt);
            }
        }
    }

    #[test]
    fn waits_are_within_their_bounds_and_the_same_for_a_seed(
        policy in policies(),
        doublings in prop::option::of(0_u32..40),
        asked in prop::option::of(0_u64..4_000),
        left in prop::option::of(0_u64..4_000),
        seed: u64,
    ) {
        let (asked, left) = (asked.map(Duration::from_millis), left.map(Duration::from_millis));
        let again = Again { reason: Reason::Repeatable, to: To::Other, doublings };
        let waited = || wait(&policy, &again, asked, left, &mut StdRng::seed_from_u64(seed));
        prop_assert_eq!(waited(), waited());
        let least = asked.unwrap_or_default();
        match waited() {
            Ok(wait) => {
                let bound = policy.backoff.base.saturating_mul(1 << doublings.unwrap_or(0).min(20)).min(policy.backoff.max);
                let most = doublings.map_or(Duration::ZERO, |_| bound);
                prop_assert!(wait >= least && wait <= least + most, "{:?}", wait);
                prop_assert!(left.is_none_or(|left| wait < left));
                prop_assert!(least <= policy.max_retry_after);
            }
            Err(stop) => prop_assert_eq!(stop == Stop::RetryAfter, least > policy.max_retry_after),
        }
    }
}

/// The whole table for first attempts by an eager policy: ending, method and body to what becomes of it.
#[test]
fn every_ending_has_its_row() {
    let (may, stop) = (|reason, to, waits: bool| Ok(Again { reason, to, doublings: waits.then_some(0) }), Err);
    for ending in Ending::ALL.into_iter().chain([Ending::Status(429), Ending::Status(503)]) {
        for repeatable in REPEATABLE {
            let repeats = repeatable != Repeatable::Never;
            let expected = match ending {
                ending if cannot_have_sent(ending) => may(Reason::NotSent, To::Other, false),
                Ending::StalePooled if repeats => may(Reason::Stale, To::Any, false),
                Ending::ResetBeforeHead | Ending::StreamRefused | Ending::Status(429 | 500 | 503) if repeats => {
                    may(Reason::Repeatable, To::OtherOrSame, true)
                }
                Ending::PerTryTimeout if repeats => may(Reason::Repeatable, To::Other, true),
                Ending::StalePooled
                | Ending::ResetBeforeHead
                | Ending::StreamRefused
                | Ending::PerTryTimeout
                | Ending::Status(429 | 500 | 503) => stop(Stop::MayHaveBeenDone),
                _ => stop(Stop::NotRetried),
            };
            for body in [Body::None, Body::Whole, Body::Kept] {
                assert_eq!(attempt(ending, repeatable, body).judge(&eager()), expected, "{ending:?} {repeatable:?}");
            }
            let expected = expected.and(Err(Stop::BodyConsumed));
            assert_eq!(attempt(ending, repeatable, Body::Consumed).judge(&eager()), expected, "{ending:?}");
        }
    }
}

#[test]
fn a_dead_connection_is_no_attempt() {
    let one = Retries { attempts: 1, ..Retries::default() };
    let stale = attempt(Ending::StalePooled, Repeatable::Idempotent, Body::Kept);
    assert_eq!(stale.judge(&one), Ok(Again { reason: Reason::Stale, to: To::Any, doublings: None }));
    let unsent = Attempt { sent: false, repeatable: Repeatable::Never, ..stale };
    assert_eq!(unsent.judge(&one).map(|again| again.reason), Ok(Reason::NotSent));
    assert_eq!(Attempt { stale: true, ..stale }.judge(&one), Err(Stop::AttemptsSpent), "a second one is");
    let reset = attempt(Ending::ResetBeforeHead, Repeatable::Safe, Body::None);
    assert_eq!(reset.judge(&one), Err(Stop::AttemptsSpent));
}

#[test]
fn a_call_is_repeated_after_a_status_that_was_named_and_after_nothing_else() {
    let call = |grpc| Attempt { grpc, ..attempt(Ending::Status(200), Repeatable::Never, Body::Kept) };
    assert_eq!(call(Some(14)).judge(&eager()).map(|again| again.reason), Ok(Reason::Declared));
    assert_eq!(call(Some(13)).judge(&eager()), Err(Stop::NotRetried));
    assert_eq!(call(None).judge(&eager()), Err(Stop::NotRetried));
    let reset = Attempt { ending: Ending::ResetBeforeHead, ..call(None) };
    assert_eq!(reset.judge(&eager()), Err(Stop::MayHaveBeenDone));
}

#[test]
fn only_the_first_try_elsewhere_is_at_once() {
    let refused = |attempts| Attempt { attempts, ..attempt(Ending::ConnectRefused, Repeatable::Safe, Body::None) };
    let doublings = |attempts| refused(attempts).judge(&eager()).map(|again| again.doublings);
    assert_eq!((doublings(1), doublings(2)), (Ok(None), Ok(Some(1))));
    assert_eq!(doublings(3), Err(Stop::AttemptsSpent));
}

#[test]
fn waits_fill_the_whole_range_below_a_bound_that_doubles() {
    let policy = Retries::default();
    for (doublings, bound) in [(0, 25), (1, 50), (2, 100), (3, 200), (4, 250), (40, 250)] {
        let again = Again { reason: Reason::Repeatable, to: To::Other, doublings: Some(doublings) };
        let wait = |seed| wait(&policy, &again, None, None, &mut StdRng::seed_from_u64(seed)).unwrap();
        let (waits, bound): (Vec<Duration>, _) = ((0..400).map(wait).collect(), Duration::from_millis(bound));
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*least < bound / 20 && *most > bound.mul_f64(0.95) && *most <= bound, "{least:?} {most:?} {bound:?}");
    }
}

#[test]
fn a_body_is_kept_only_where_it_may_be_sent_again() {
    let policy = eager();
    assert_eq!(body_limit(&policy, Repeatable::Idempotent, false), 64 << 10);
    assert_eq!(body_limit(&policy, Repeatable::Never, true), 64 << 10);
    assert_eq!(body_limit(&policy, Repeatable::Never, false), 0);
    assert_eq!(body_limit(&Retries::default(), Repeatable::Never, true), 0);
    assert_eq!(body_limit(&Retries { attempts: 1, ..policy }, Repeatable::Safe, false), 0);
}
