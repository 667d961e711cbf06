//! Decides who waits for room in a full pool, who is let through next, and who is sent away.
//!
//! One queue for each pool rather than one for each endpoint: whoever waits at one endpoint while another becomes free waits
//! for nothing. Those of a higher priority go first; among equals the one that came first, since the newest-first order
//! that some prefer under overload starves users who were patient, and a short deadline already bounds how stale a waiting
//! request can be. When the queue is full, a newcomer takes the place of the newest of the lowest priority below its own:
//! what is sent away is then always of the lowest priority there is.
//!
//! A place is granted to one at a time, when room has become free; whoever is granted tries again and, if the room was
//! taken meanwhile, enters anew in front of its equals ([`Queue::enter_again`]).
//!
//! Invariants: never more than `most` wait, but for those that have been granted room in vain; nobody is granted after its deadline, nor after it has left; each ticket is
//! granted, displaced or expired at most once; while somebody waits nobody of the same or a lower priority passes by.

use std::collections::VecDeque;
use std::time::Instant;

use sluice_config::validated::Priority;

/// A place in a queue. Unique in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What becomes of a request that wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It waits.
    Waits(Ticket),
    /// It waits, and this one of a lower priority is sent away for it.
    Displaces(Ticket, Ticket),
    /// The queue is full of requests that are as important.
    Full,
}

/// Those that wait for one pool.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// The highest priority first.
    lanes: [VecDeque<Waiting>; 3],
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ticket: Ticket,
    deadline: Instant,
}

const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl Queue {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Whether a newcomer of this priority must wait although there may be room: somebody was here before it.
    #[must_use]
    pub fn is_ahead_of(&self, priority: Priority) -> bool {
        self.lanes[..=lane(priority)].iter().any(|lane| !lane.is_empty())
    }

    /// Takes a place behind its equals, until `deadline`; at most `most` wait. O(1).
    pub fn enter(&mut self, priority: Priority, deadline: Instant, most: usize) -> Entry {
        self.insert(priority, deadline, most, false)
    }

    /// Takes a place in front of its equals, for one that was granted room which was gone when it came. It is never refused: it
    /// stood there before, and whoever took its place meanwhile came later.
    pub fn enter_again(&mut self, priority: Priority, deadline: Instant, most: usize) -> Entry {
        self.insert(priority, deadline, most, true)
    }

    fn insert(&mut self, priority: Priority, deadline: Instant, most: usize, again: bool) -> Entry {
        let own = lane(priority);
        let displaced = if self.len() < most || again {
            None
        } else {
            let lower = self.lanes[own + 1..].iter_mut().rev().find_map(VecDeque::pop_back);
            match lower {
                Some(lower) => Some(lower.ticket),
                None => return Entry::Full,
            }
        };
        let ticket = Ticket(self.next);
        self.next += 1;
        let waiting = Waiting { ticket, deadline };
        if again {
            self.lanes[own].push_front(waiting);
        } else {
            self.lanes[own].push_back(waiting);
        }
        displaced.map_or(Entry::Waits(ticket), |displaced| Entry::Displaces(ticket, displaced))
    }

    /// Who is let through now that there is room. Those whose deadline has passed are left out. O(1) and one for each that
    /// has expired.
    pub fn grant(&mut self, now: Instant) -> Option<Ticket> {
        self.lanes.iter_mut().find_map(|lane| {
            while let Some(first) = lane.pop_front() {
                if first.deadline > now {
                    return Some(first.ticket);
                }
            }
            None
        })
    }

    /// Gives a place up; nothing if it was granted or displaced already. O(waiting).
    pub fn leave(&mut self, ticket: Ticket) {
        for lane in &mut self.lanes {
            if let Some(place) = lane.iter().position(|waiting| waiting.ticket == ticket) {
                lane.remove(place);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::start;

    const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    fn waits(entry: Entry) -> Ticket {
        match entry {
            Entry::Waits(ticket) | Entry::Displaces(ticket, _) => ticket,
            Entry::Full => panic!("full"),
        }
    }

    #[test]
    fn the_important_go_first_and_then_those_who_came_first() {
        let (now, mut queue) = (start(), Queue::default());
        let later = now + Duration::from_secs(1);
        let tickets = [Priority::Low, Priority::Normal, Priority::High, Priority::Normal]
            .map(|priority| waits(queue.enter(priority, later, 9)));
        let granted: Vec<_> = std::iter::from_fn(|| queue.grant(now)).collect();
        assert_eq!(granted, [tickets[2], tickets[1], tickets[3], tickets[0]]);
    }

    #[test]
    fn a_full_queue_sends_the_least_important_away() {
        let (now, mut queue) = (start(), Queue::default());
        let later = now + Duration::from_secs(1);
        let low = [0; 2].map(|_| waits(queue.enter(Priority::Low, later, 2)));
        assert_eq!(queue.enter(Priority::Low, later, 2), Entry::Full);
        let Entry::Displaces(normal, first) = queue.enter(Priority::Normal, later, 2) else { panic!() };
        assert_eq!(first, low[1], "the newest of the lowest");
        let Entry::Displaces(..) = queue.enter(Priority::High, later, 2) else { panic!() };
        assert_eq!(queue.enter(Priority::Normal, later, 2), Entry::Full);
        queue.leave(normal);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.enter(Priority::High, later, 0), Entry::Full, "nobody may wait");
    }

    #[test]
    fn whoever_found_no_room_after_all_is_the_first_of_its_equals() {
        let (now, mut queue) = (start(), Queue::default());
        let later = now + Duration::from_secs(1);
        queue.enter(Priority::Normal, later, 9);
        let again = waits(queue.enter_again(Priority::Normal, later, 1));
        assert_eq!(queue.enter(Priority::Normal, later, 1), Entry::Full);
        assert_eq!(queue.grant(now), Some(again));
    }

    proptest! {
        /// Rules: never more than `most` wait; a grant is of the highest priority that waits and, in it, of the oldest;
        /// nobody is granted after its deadline or after leaving. A list of all that wait is the model.
        #[test]
        fn a_queue_is_its_model(steps in prop::collection::vec((0_u8..4, 0_usize..3, 1_u64..20), 1..200), most in 0_usize..6) {
            let mut now = start();
            let (mut queue, mut model) = (Queue::default(), Vec::<(usize, Ticket, Instant)>::new());
            for (kind, lane, number) in steps {
                match kind {
                    0 | 1 => {
                        let deadline = now + Duration::from_millis(number);
                        match queue.enter(ALL[lane], deadline, most) {
                            Entry::Waits(ticket) => model.push((lane, ticket, deadline)),
                            Entry::Displaces(ticket, gone) => {
                                let lowest = model.iter().map(|one| one.0).max().unwrap();
                                let newest = model.iter().filter(|one| one.0 == lowest).map(|one| one.1).max().unwrap();
                                prop_assert!(lowest > lane && newest == gone);
                                model.retain(|one| one.1 != gone);
                                model.push((lane, ticket, deadline));
                            }
                            Entry::Full => prop_assert!(model.len() >= most && model.iter().all(|one| one.0 <= lane)),
                        }
                    }
                    2 => {
                        let expected = model.iter().filter(|one| one.2 > now).min().copied();
                        prop_assert_eq!(queue.grant(now), expected.map(|one| one.1));
                        // What stood in front of it had expired.
                        let end = expected.map_or((usize::MAX, Ticket(u64::MAX)), |one| (one.0, one.1));
                        model.retain(|one| (one.0, one.1) > end);
                    }
                    _ => {
                        if let Some(one) = model.get(number as usize % model.len().max(1)).copied() {
                            queue.leave(one.1);
                            model.retain(|other| other.1 != one.1);
                        }
                        now += Duration::from_millis(number);
                    }
                }
                prop_assert!(queue.len() == model.len() && queue.len() <= most);
                for (lane, priority) in ALL.into_iter().enumerate() {
                    prop_assert_eq!(queue.is_ahead_of(priority), model.iter().any(|one| one.0 <= lane));
                }
            }
        }
    }
}
