//! What several benchmarks share: a large document, lists of endpoints, and times as they are told.

use std::time::Duration;

/// A document of so many routes: a hundred for each service, each service with two versions of three endpoints.
#[must_use]
pub fn document(routes: usize) -> String {
    let services = routes.div_ceil(100);
    let mut text = String::from("listeners: [{ name: web, address: \"127.0.0.1:8080\" }]\nservices:\n");
    for at in 0..services {
        let address = |version: usize, port: usize| format!("\"10.{}.{}.{version}:{port}\"", at / 200, at % 200);
        let pool = |version| format!("[{}, {}, {}]", address(version, 1), address(version, 2), address(version, 3));
        text += &format!("  - {{ name: s{at}, versions: [{{ name: v1, endpoints: {} }}, ", pool(1));
        text += &format!("{{ name: v2, weight: 0, endpoints: {} }}] }}\n", pool(2));
    }
    text += "routes:\n";
    for at in 0..routes {
        text +=
            &format!("  - {{ match: {{ host: h{}.example.com, path: /p{at} }}, service: s{} }}\n", at % 50, at / 100);
    }
    text
}

/// So many addresses of this network, as a document lists them.
#[must_use]
pub fn addresses(network: usize, count: usize) -> String {
    let address = |at: usize| format!("\"10.{network}.{}.{}:80\"", at / 250, at % 250 + 1);
    format!("[{}]", (0..count).map(address).collect::<Vec<_>>().join(", "))
}

/// Times of one thing that was done again and again.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that this share of them took at most (nearest rank); nothing while there is none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    /// In a line: what was done, how often, how long half and 99 of 100 took at most, and whether the latter is what was
    /// aimed for.
    #[must_use]
    pub fn line(&self, what: &str, goal: Option<Duration>) -> String {
        let at = |share| self.quantile(share).map_or_else(|| "-".to_owned(), milliseconds);
        let kept = self.quantile(0.99).zip(goal).map_or_else(String::new, |(worst, goal)| {
            format!(", goal {} {}", milliseconds(goal), if worst <= goal { "kept" } else { "MISSED" })
        });
        format!("{what:<60} n {:>3}, p50 {:>9}, p99 {:>9}{kept}", self.0.len(), at(0.5), at(0.99))
    }
}

/// A time in milliseconds.
#[must_use]
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_taken() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        (1..=100).rev().for_each(|ms| times.add(Duration::from_millis(ms)));
        assert_eq!(times.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(times.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(times.quantile(1.0), Some(Duration::from_millis(100)));
        assert!(times.line("x", Some(Duration::from_millis(98))).ends_with("goal 98.0 ms MISSED"));
        assert!(times.line("x", Some(Duration::from_millis(99))).ends_with("goal 99.0 ms kept"));
    }

    #[test]
    fn the_document_is_sound() {
        let document = document(250);
        assert!(sluice_config::validate(&document, &sluice_config::Environment::empty()).is_ok());
    }
}
