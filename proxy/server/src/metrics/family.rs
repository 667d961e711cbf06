//! Every metric that is exported: its name, what it means, its labels. The one list; what is not here cannot be written.

use std::collections::{BTreeMap, HashMap};

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $constant: Family =
            Family { name: $name, help: $help, kind: MetricType::$kind, labels: &[$($label),*] };)+

        /// All of them.
        pub(super) const ALL: &[&Family] = &[$(&$constant),+];
    };
}

families! {
    ACCESS_LOG_DROPPED: COUNTER "sluice_access_log_dropped_total" []
        "Access log lines that were lost because writing them would have blocked, or failed.";
    BREAKER_TRANSITIONS: COUNTER "sluice_breaker_transitions_total" ["service", "version", "region", "of", "to"]
        "Changes of a breaker by what it became: of the pool, or of one of its endpoints.";
    BODIES_REFUSED: COUNTER "sluice_bodies_refused_total" ["reason"]
        "Request bodies that were broken off because their framing was, by the rule that they broke.";
    BUILD_INFO: GAUGE "sluice_build_info" ["version"]
        "Always 1; the version of the program is its label.";
    CERTIFICATE_EXPIRY: GAUGE "sluice_certificate_expiry_timestamp_seconds" ["listener", "certificate"]
        "When a certificate that the listener shows ends, in seconds since 1970, by the path of its file.";
    CERTIFICATE_RELOADS: COUNTER "sluice_certificate_reloads_total" ["result"]
        "Certificates and authorities whose files have changed, by whether they were taken (ok) or refused, when what was read before is served on.";
    NOMINATIONS_IGNORED: COUNTER "sluice_connection_nominations_ignored_total" []
        "Fields that a client named in Connection, to have them removed, and that went on all the same: others rely on them.";
    CONNECTIONS: GAUGE "sluice_connections" ["listener"]
        "Client connections open now.";
    CONNECTIONS_LIMIT: GAUGE "sluice_connections_limit" []
        "Client connections that the process may have open; absent without a limit.";
    CONNECTIONS_TOTAL: COUNTER "sluice_connections_total" ["listener"]
        "Client connections accepted.";
    CONTROL_CONNECTED: GAUGE "sluice_control_connected" []
        "1 while there is a connection to the control plane, else 0: what runs goes on. Absent where the control plane is in this process.";
    CONTROL_SILENCE: GAUGE "sluice_control_last_contact_seconds" []
        "Seconds since the control plane was last known to be there: 0 while connected, which pings prove within 15 s; absent before the first contact.";
    DISCOVERY_AGE: GAUGE "sluice_discovery_last_good_seconds" ["source"]
        "Seconds since the source last gave an address; absent before the first. While it grows, the last good addresses stay.";
    DISCOVERY_ANSWERS: COUNTER "sluice_discovery_answers_total" ["source", "result"]
        "Rounds of questions to a source of endpoints: ok, or what stood in the way of a whole answer.";
    DISCOVERY_CHANGES: COUNTER "sluice_discovery_changes_total" ["source"]
        "Changes of the source's addresses.";
    DISCOVERY_DROPPED: COUNTER "sluice_discovery_dropped_total" ["source"]
        "Addresses that the source gave and that are not used, each time: those of this process itself, such where nobody can be, and more than 10,000.";
    DISCOVERY_ENDPOINTS: GAUGE "sluice_discovery_endpoints" ["source"]
        "Addresses that the source stands for now.";
    DOCUMENT_ACCEPTED: GAUGE "sluice_document_accepted" []
        "1 while nothing is known against what the document's file holds; 0 while it is refused, cannot be read, or does not fit to run: then an older document runs.";
    DRAINING: GAUGE "sluice_draining" []
        "1 once the process is told to leave, else 0; sluice_connections tells what it waits for.";
    EJECTIONS: COUNTER "sluice_endpoint_ejections_total" ["service", "version", "region", "reason"]
        "Endpoints that were ejected because they answered worse than others, by why.";
    EJECTIONS_SUPPRESSED: COUNTER "sluice_endpoint_ejections_suppressed_total" ["service", "version", "region", "reason", "suppressed_by"]
        "Ejections for which there was a reason and that were not made, by what forbade them.";
    ENDPOINT_BREAKER: GAUGE "sluice_endpoint_breaker" ["service", "version", "region", "endpoint"]
        "The breaker of the endpoint: 0 closed, 1 half-open, 2 open.";
    ENDPOINT_EJECTED: GAUGE "sluice_endpoint_ejected" ["service", "version", "region", "endpoint"]
        "1 for an endpoint that is ejected, else 0.";
    ENDPOINT_LATENCY: GAUGE "sluice_endpoint_latency_seconds" ["service", "version", "region", "endpoint"]
        "The moving average of the time to an answer, which the slowest answer raises at once; absent before the first answer.";
    ENDPOINT_LEVEL: GAUGE "sluice_endpoint_level_ratio" ["service", "version", "region", "endpoint"]
        "The part of its weight that the endpoint gets: below 1 in slow start or when it asks for less, 0 when it gets nothing new.";
    ENDPOINT_HEALTHY: GAUGE "sluice_endpoint_healthy" ["service", "version", "region", "endpoint"]
        "1 for an endpoint that its probes, or the absence of a health check, verify; 0 for one that is out or not yet proven.";
    ENDPOINT_IN_FLIGHT: GAUGE "sluice_endpoint_requests_in_flight" ["service", "version", "region", "endpoint"]
        "Requests that the endpoint is answering now.";
    ENDPOINT_UNPROBED: GAUGE "sluice_endpoint_unprobed" ["service", "version", "region", "endpoint"]
        "1 for an endpoint that no probe has proven good or bad yet, else 0.";
    FAILURES: COUNTER "sluice_failures_total" ["service", "reason"]
        "Failed requests by reason. Faults of the client are none.";
    GRPC_CALLS: COUNTER "sluice_grpc_calls_total" ["service", "version", "region", "grpc_status"]
        "Calls of gRPC that ended, by the status that the client was given.";
    H2_CUT: COUNTER "sluice_h2_cut_total" ["listener", "reason"]
        "Client connections of HTTP/2 that were cut: floods of frames by their kind, and breaches of the protocol.";
    HEALTH_TRANSITIONS: COUNTER "sluice_health_transitions_total" ["service", "version", "region", "to"]
        "Changes of an endpoint's standing by what it became.";
    KEEP_TIMESTAMP: GAUGE "sluice_last_known_good_timestamp_seconds" []
        "When the newest revision that is kept on disk was written, in seconds since 1970; absent when none is.";
    KEEP_WRITES: COUNTER "sluice_last_known_good_writes_total" ["result"]
        "Revisions that were to be written to disk by whether they were.";
    MEMORY_LIMIT: GAUGE "sluice_memory_limit_bytes" []
        "Memory that the process may use before it is overloaded; absent without a limit.";
    METRICS_SERIES: GAUGE "sluice_metrics_series" []
        "Series in this output, without those of the process.";
    METRICS_SERIES_REFUSED: COUNTER "sluice_metrics_series_refused_total" []
        "Label sets that were folded into `other`, or endpoints left out, because the series budget was spent; counted anew with every revision.";
    OVERLOAD_LEVEL: GAUGE "sluice_overload_level" []
        "What is given up for want of memory: 0 nothing, 1 idle connections and the others with their answer, 2 new requests too.";
    PROBE_SECONDS: COUNTER "sluice_probe_duration_seconds_total" ["service", "version", "region"]
        "Time that health probes have taken; divided by sluice_probes_total it is their mean.";
    PROBES_DELAYED: COUNTER "sluice_probes_delayed_total" []
        "Health probes that waited for more than a tenth of their interval because `limits.probes` admits no more.";
    POOL_BREAKER: GAUGE "sluice_pool_breaker" ["service", "version", "region"]
        "The breaker of the pool: 0 closed, 1 half-open, 2 open.";
    POOL_IN_FLIGHT: GAUGE "sluice_pool_requests_in_flight" ["service", "version", "region"]
        "Requests that endpoints of the pool are answering now.";
    POOL_PENDING: GAUGE "sluice_pool_requests_pending" ["service", "version", "region"]
        "Requests that wait for room in the pool now.";
    POOL_WAITED: COUNTER "sluice_pool_requests_waited_total" ["service", "version", "region", "result"]
        "Requests that had to wait for room in the pool, by how that ended: `granted`, or `full`, `displaced` and `timeout` for those that were sent elsewhere or refused.";
    PROBES: COUNTER "sluice_probes_total" ["service", "version", "region", "result"]
        "Health probes by what they found.";
    PROXY_PROTOCOL_REJECTED: COUNTER "sluice_proxy_protocol_rejected_total" ["listener", "reason"]
        "Connections closed because no PROXY protocol header came from a trusted proxy, by what was wrong.";
    REQUEST_DURATION: HISTOGRAM "sluice_request_duration_seconds" ["service", "version", "region"]
        "Time from a request's head to its end, without tunnels. Bounds are within 1/32 of what they say.";
    REQUESTS: COUNTER "sluice_requests_total" ["route", "service", "version", "region", "class"]
        "Requests that ended, by the class of the status sent; class `none`: no answer was sent.";
    REQUESTS_ENDED_BY_CLIENT: COUNTER "sluice_requests_ended_by_client_total" ["reason"]
        "Requests that ended by what the client did or did not do, by reason. They are no failures.";
    REQUESTS_IN_FLIGHT: GAUGE "sluice_requests_in_flight" ["service"]
        "Requests being served now.";
    REQUESTS_MOVED: COUNTER "sluice_requests_moved_total" ["service", "version", "region", "to"]
        "Requests that the pool of the version and region to which they were assigned could not take, by where they went: `other_region`, `baseline`, or `nowhere`.";
    REQUESTS_REFUSED: COUNTER "sluice_requests_refused_total" ["reason"]
        "Requests refused before they had a route: malformed, too large, too slow.";
    RETRIES: COUNTER "sluice_retries_total" ["service", "reason"]
        "Further attempts by what ended the attempt before.";
    RETRIES_REFUSED: COUNTER "sluice_retries_refused_total" ["service", "reason"]
        "Attempts that ended with what the service tries again after, and that no other followed, by why.";
    REVISION: GAUGE "sluice_revision" []
        "The number of the revision that runs.";
    REVISION_APPLIED: GAUGE "sluice_revision_applied_timestamp_seconds" []
        "When the revision that runs was applied, in seconds since 1970.";
    REVISION_INFO: GAUGE "sluice_revision_info" ["digest"]
        "Always 1; the digest of the revision that runs is its label.";
    REVISIONS_REFUSED: COUNTER "sluice_revisions_refused_total" []
        "Texts of the document's file with problems, and revisions that did not fit to run, each try; what ran before still does.";
    SHED: COUNTER "sluice_shed_total" ["reason"]
        "Connections closed and requests refused because a limit was reached: `address` and `slow_read` are connections, `memory` requests, `idle_for_...` idle connections that made room.";
    SPLIT_CHOICES: COUNTER "sluice_split_choices_total" ["service", "version"]
        "Choices of a version by the split.";
    SPLIT_CONFIGURED: GAUGE "sluice_split_configured_ratio" ["service", "version"]
        "The share of choices that the version's weight asks for.";
    SPLIT_OBSERVED: GAUGE "sluice_split_observed_ratio" ["service", "version"]
        "The share of choices that the version got in the last whole window of 30 s; absent when the service had none.";
    TLS_HANDSHAKES: COUNTER "sluice_tls_handshakes_total" ["listener", "result"]
        "TLS handshakes with clients by their end.";
    UPSTREAM_CONNECTIONS: GAUGE "sluice_upstream_connections" ["state"]
        "Connections to endpoints by state.";
    UPSTREAM_OPEN: GAUGE "sluice_upstream_connections_open" ["protocol"]
        "Connections to endpoints open now, by what is spoken on them.";
    UPSTREAM_CONNECTS: COUNTER "sluice_upstream_connects_total" ["result"]
        "Dials of endpoints by their end.";
}

impl Family {
    pub(super) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("names and labels of the list are valid, a test makes them all")
    }

    fn empty(&self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family
    }

    fn labelled(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        Metric::from_label(self.labels.iter().zip(values).map(|(name, value)| pair(name, value)).collect())
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// One scrape in the making.
#[derive(Debug, Default)]
pub(super) struct Output {
    families: BTreeMap<&'static str, MetricFamily>,
    series: usize,
}

impl Output {
    pub(super) fn counter(&mut self, family: &Family, labels: &[&str], value: u64) {
        self.seconds(family, labels, value as f64);
    }

    /// A counter of what is no whole number.
    pub(super) fn seconds(&mut self, family: &Family, labels: &[&str], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = family.labelled(labels);
        metric.set_counter(counter);
        self.push(family, metric, 1);
    }

    pub(super) fn gauge(&mut self, family: &Family, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = family.labelled(labels);
        metric.set_gauge(gauge);
        self.push(family, metric, 1);
    }

    /// `buckets` are upper bounds with the number of values not above them, in order; `count` and `sum` are of all.
    pub(super) fn histogram(&mut self, family: &Family, labels: &[&str], buckets: &[(f64, u64)], count: u64, sum: f64) {
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.iter().map(|(bound, below)| bucket(*bound, *below)).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = family.labelled(labels);
        metric.set_histogram(histogram);
        // The sum, the count and the bucket of everything.
        self.push(family, metric, buckets.len() + 3);
    }

    fn push(&mut self, family: &Family, metric: Metric, series: usize) {
        self.series += series;
        self.families.entry(family.name).or_insert_with(|| family.empty()).mut_metric().push(metric);
    }

    /// Series written so far.
    pub(super) const fn series(&self) -> usize {
        self.series
    }

    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.families.into_values().collect()
    }
}

fn bucket(bound: f64, below: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(bound);
    bucket.set_cumulative_count(below);
    bucket
}
