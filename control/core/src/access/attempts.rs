//! How often somebody may fail to say who they are.
//!
//! Tokens are too long to be guessed; what is limited is the noise: each failure is logged and goes to the audit log. An
//! address that failed [`PER_ADDRESS`] times must wait, and comes back at that rate a minute. All addresses together
//! have [`OVERALL`], so that many of them cannot do what one cannot. That second limit would let strangers silence the
//! failures of everybody, so it does not hold for an address from which a token was right within [`GOOD`]; its own limit
//! does. Neither keeps out whoever shows a right token: that is for the shell to ask first.
//!
//! A bucket is kept as the moment at which it is full again (the virtual scheduling form of ITU-T I.371's generic cell
//! rate algorithm): one number that needs no refilling. An IPv6 address counts with its /64, which is one customer's.
//!
//! # Invariants
//! - In any time t, no address fails more often than [`PER_ADDRESS`] × (1 + t in minutes), and those that are not known
//!   together not more often than [`OVERALL`] × (1 + t in minutes).
//! - At most [`ADDRESSES`] are kept; the one that was seen the longest ago is forgotten.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Failures that one address has, and gets back in a minute.
const PER_ADDRESS: u32 = 10;
/// Failures that all addresses have, and get back in a minute.
const OVERALL: u32 = 100;
/// How long an address counts as good after its token was right.
const GOOD: Duration = Duration::from_secs(3_600);
/// How many addresses are kept.
const ADDRESSES: usize = 4_096;

/// Whether somebody may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// They may.
    Allowed,
    /// Not for so long.
    Wait(Duration),
}

/// Who has failed how often. `now` is the time since any one moment that stays the same, and does not go back.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    addresses: BTreeMap<IpAddr, Address>,
    overall: Bucket,
}

#[derive(Debug, Clone, Copy, Default)]
struct Address {
    bucket: Bucket,
    seen: Duration,
    good: Option<Duration>,
}

/// When it is full again; in the past, it is.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket(Duration);

impl Bucket {
    fn wait(self, size: u32, now: Duration) -> Duration {
        let one = Duration::from_secs(60) / size;
        self.0.saturating_sub(now + one * (size - 1))
    }

    fn take(&mut self, size: u32, now: Duration) {
        self.0 = self.0.max(now) + Duration::from_secs(60) / size;
    }
}

impl Attempts {
    /// Whether somebody at this address may try. To be asked, and what came of it told, in one step: what is asked at
    /// once is allowed at once.
    #[must_use]
    pub fn check(&self, from: IpAddr, now: Duration) -> Attempt {
        let address = self.addresses.get(&key(from)).copied().unwrap_or_default();
        let own = address.bucket.wait(PER_ADDRESS, now);
        let overall = if address.is_good(now) { Duration::ZERO } else { self.overall.wait(OVERALL, now) };
        match own.max(overall) {
            Duration::ZERO => Attempt::Allowed,
            wait => Attempt::Wait(wait),
        }
    }

    /// Somebody at this address failed.
    pub fn failed(&mut self, from: IpAddr, now: Duration) {
        let address = self.see(from, now);
        address.bucket.take(PER_ADDRESS, now);
        if !address.is_good(now) {
            self.overall.take(OVERALL, now);
        }
    }

    /// A token was right at this address. It gets back nothing: who has one token may still try others.
    pub fn succeeded(&mut self, from: IpAddr, now: Duration) {
        self.see(from, now).good = Some(now);
    }

    fn see(&mut self, from: IpAddr, now: Duration) -> &mut Address {
        let key = key(from);
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains_key(&key) {
            let oldest = self.addresses.iter().min_by_key(|(_, address)| address.seen).map(|(key, _)| *key);
            oldest.and_then(|oldest| self.addresses.remove(&oldest));
        }
        let address = self.addresses.entry(key).or_default();
        address.seen = now;
        address
    }
}

impl Address {
    fn is_good(&self, now: Duration) -> bool {
        self.good.is_some_and(|good| now.saturating_sub(good) < GOOD)
    }
}

fn key(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail(attempts: &mut Attempts, from: IpAddr, now: Duration) -> bool {
        let allowed = attempts.check(from, now) == Attempt::Allowed;
        if allowed {
            attempts.failed(from, now);
        }
        allowed
    }

    #[test]
    fn an_address_fails_ten_times_and_then_once_in_six_seconds() {
        let mut attempts = Attempts::default();
        assert!((0..10).all(|_| fail(&mut attempts, ip(1), seconds(9))));
        assert_eq!(attempts.check(ip(1), seconds(9)), Attempt::Wait(seconds(6)));
        assert_eq!(attempts.check(ip(1), seconds(14)), Attempt::Wait(seconds(1)));
        assert_eq!(attempts.check(ip(2), seconds(9)), Attempt::Allowed);
        assert!(fail(&mut attempts, ip(1), seconds(15)) && !fail(&mut attempts, ip(1), seconds(15)));
    }

    #[test]
    fn many_addresses_share_a_limit_that_good_ones_do_not_have() {
        let mut attempts = Attempts::default();
        attempts.succeeded(ip(1), seconds(0));
        assert!((100..200).all(|from| fail(&mut attempts, ip(from), seconds(1))));
        assert_eq!(attempts.check(ip(2), seconds(1)), Attempt::Wait(Duration::from_millis(600)));
        assert!((0..10).all(|_| fail(&mut attempts, ip(1), seconds(1))));
        assert!(!fail(&mut attempts, ip(1), seconds(1)));
        assert!((100..200).all(|from| fail(&mut attempts, ip(from), seconds(3_600))));
        assert!(!fail(&mut attempts, ip(1), seconds(3_600)), "good for an hour");
    }

    #[test]
    fn what_fails_at_a_good_address_costs_the_others_nothing() {
        let mut attempts = Attempts::default();
        for from in 0..10 {
            attempts.succeeded(ip(from), seconds(0));
            assert!((0..10).all(|_| fail(&mut attempts, ip(from), seconds(0))));
        }
        assert!((100..200).all(|from| fail(&mut attempts, ip(from), seconds(0))));
    }

    #[test]
    fn an_ipv6_address_counts_with_its_network() {
        let mut attempts = Attempts::default();
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!((0..10).all(|_| fail(&mut attempts, from("2001:db8:0:1::1"), seconds(0))));
        assert!(!fail(&mut attempts, from("2001:db8:0:1:ffff::2"), seconds(0)));
        assert!(fail(&mut attempts, from("2001:db8:0:2::1"), seconds(0)));
        assert!((0..10).all(|_| fail(&mut attempts, from("::ffff:10.0.0.1"), seconds(0))));
        assert!(!fail(&mut attempts, from("10.0.0.1"), seconds(0)));
    }

    #[test]
    fn only_so_many_addresses_are_kept() {
        let mut attempts = Attempts::default();
        (0..5_000).for_each(|from| attempts.succeeded(ip(from), seconds(u64::from(from))));
        assert_eq!(attempts.addresses.len(), ADDRESSES);
        assert!(!attempts.addresses.contains_key(&ip(903)) && attempts.addresses.contains_key(&ip(904)));
    }

    proptest! {
        #[test]
        fn nobody_fails_more_often_than_allowed(steps in prop::collection::vec((0..30_u32, 0..3_000_u64), 1..600)) {
            let mut attempts = Attempts::default();
            let mut now = Duration::ZERO;
            let mut failures: Vec<(u32, Duration)> = Vec::new();
            for (from, wait) in steps {
                now += Duration::from_millis(wait);
                if fail(&mut attempts, ip(from), now) {
                    failures.push((from, now));
                } else {
                    let Attempt::Wait(wait) = attempts.check(ip(from), now) else { unreachable!("it has just been refused") };
                    prop_assert_eq!(attempts.check(ip(from), now + wait), Attempt::Allowed);
                }
            }
            let most = |size: u32, time: Duration| f64::from(size) * (1.0 + time.as_secs_f64() / 60.0) + 1e-6;
            for (place, (_, begin)) in failures.iter().enumerate() {
                let (mut all, mut own) = (0.0, BTreeMap::new());
                for (from, end) in &failures[place..] {
                    all += 1.0;
                    *own.entry(from).or_insert(0.0) += 1.0;
                    prop_assert!(all <= most(OVERALL, *end - *begin));
                    prop_assert!(own[from] <= most(PER_ADDRESS, *end - *begin));
                }
            }
        }
    }
}
