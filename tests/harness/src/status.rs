//! A status listener: what it answers and what can be scraped from it.

use std::net::SocketAddr;

use crate::h1::{Client, Response};
use crate::metrics::Scrape;
use crate::wait::until;

/// Where one is.
#[derive(Debug, Clone, Copy)]
pub struct Status(pub SocketAddr);

impl Status {
    /// A GET; nothing when it does not answer.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<Response> {
        let mut client = Client::try_connect(self.0).ok()?;
        client.try_send(format!("GET {path} HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n")).ok()?;
        client.try_response("GET").ok()
    }

    /// Whether it answers this path with 200.
    #[must_use]
    pub fn is_well(&self, path: &str) -> bool {
        self.ask(path).is_some_and(|response| response.status() == 200)
    }

    /// All metrics now; nothing when they cannot be had.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn scrape(&self) -> Option<Scrape> {
        let text = self.ask("/metrics")?.text();
        Some(Scrape::parse(&text).unwrap_or_else(|line| panic!("not a metric: {line}")))
    }

    /// The sum of a metric's series with these labels; 0 when there is none.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.scrape().and_then(|scrape| scrape.sum(name, labels)).unwrap_or(0.0)
    }

    /// Waits until a metric has this value or a larger one.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], at_least: f64) -> f64 {
        until(&format!("{name} {labels:?} at least {at_least}"), || {
            let value = self.metric(name, labels);
            (value >= at_least).then_some(value)
        })
    }

    /// The revision that is live; 0 when there is none or nobody answers.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.metric("sluice_revision", &[]) as u64
    }
}
