//! What is known of one request while it is served, and the one place that records how it ended: dropped at whatever
//! point, it counts and logs the request exactly once.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sluice_proxy_core::grpc::Code;
use sluice_proxy_core::outcome::{Ending, Judgement, Outcome};
use sluice_proxy_core::select::Choice;
use tokio::time::Instant;

use crate::alarm::after;
use crate::client::Client;
use crate::grpc::Call;
use crate::live::{RouteEntry, ServiceEntry};
use crate::log::{Entry, Fault, Level, Tls};
use crate::message::{Known, Refused, RequestHead, Version};
use crate::patience::Progress;
use crate::reply::{self, Own};
use crate::request_id::RequestId;
use crate::said::Said;
use crate::worker::{Running, Worker};

/// One request.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) running: Rc<Running>,
    pub(crate) client: &'a Client,
    pub(crate) head: &'a mut RequestHead,
    pub(crate) progress: Progress,
    pub(crate) started: Instant,
    pub(crate) attempts: u32,
    pub(crate) id: RequestId,
    /// By the trusted proxy that sent it, if one did.
    pub(crate) said: Option<Box<Said>>,
    route: Option<usize>,
    choice: Option<Choice>,
    /// The status of a reply of our own.
    replied: Option<u16>,
    /// What ended the first attempt that was followed by another.
    first_failure: Option<&'static str>,
    ending: Option<Ending>,
}

impl<'a> Record<'a> {
    pub(crate) fn begin(worker: &'a Rc<Worker>, client: &'a Client, head: &'a mut RequestHead) -> Self {
        let started = Instant::now();
        let trusted = client.trusted();
        let taken = trusted.as_ref().and_then(|_| RequestId::take(&head.fields));
        let said = trusted.map(|identity| Box::new(Said::of(&head.fields, client, &identity)));
        Self {
            worker,
            running: worker.running(),
            client,
            progress: Progress::new(started, Call::of(&head.fields)),
            head,
            started,
            attempts: 0,
            id: taken.unwrap_or_else(|| RequestId::make(&mut *worker.rng.borrow_mut())),
            said,
            route: None,
            choice: None,
            replied: None,
            first_failure: None,
            ending: None,
        }
    }

    /// Who the client is.
    pub(crate) fn address(&self) -> IpAddr {
        self.said.as_ref().map_or_else(|| self.client.address.ip(), |said| said.address)
    }

    /// When the whole exchange must be over: after this time, or when the client has said.
    pub(crate) fn limit(&self, total: Option<Duration>) -> Option<Instant> {
        self.progress.call.limit(&self.head.fields, self.started, after(self.started, total))
    }

    /// The request takes this route.
    pub(crate) const fn routed(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// The request is sent there.
    pub(crate) const fn chosen(&mut self, choice: Choice) {
        self.choice = Some(choice);
        self.attempts += 1;
    }

    /// An attempt was ended by this and another follows.
    pub(crate) fn retried(&mut self, cause: &'static str) {
        self.first_failure.get_or_insert(cause);
    }

    /// The client was given a reply of our own.
    pub(crate) const fn replied(&mut self, status: u16) {
        self.replied = Some(status);
    }

    /// The request is over.
    pub(crate) const fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    fn entry(&self) -> Option<(&RouteEntry, &ServiceEntry)> {
        let route = &self.running.live.routes[self.route?];
        Some((route, &self.running.live.services[route.service]))
    }

    fn count(&self, judged: &Judgement, status: Option<u16>) {
        let series = match (self.entry(), &self.choice) {
            (Some((route, _)), Some(choice)) => route.series(&choice.spot),
            (Some((route, _)), None) => &route.unplaced,
            (None, _) => &self.running.live.unrouted,
        };
        series.record(self.worker.index, status, self.started.elapsed());
        if let Some(code) = self.progress.call.status() {
            series.called(code);
        }
        let by_client = matches!(judged.outcome, Outcome::ClientFault | Outcome::Cancelled);
        if by_client && !matches!(self.ending, Some(Ending::Status(_) | Ending::Grpc(_))) {
            self.worker.metrics.ended_by_client(judged.reason);
        }
        if let Some((_, service)) = self.entry()
            && judged.failed
        {
            service.series.failed(judged.reason);
        }
    }

    fn log(&self, judged: &Judgement, status: Option<u16>) {
        if !self.worker.log.is_on() {
            return;
        }
        let names = self.names();
        let plain = matches!(self.ending, Some(Ending::Status(..500) | Ending::Grpc(_))) && !judged.failed;
        let message = self.ending.map_or("", Ending::words);
        self.worker.log.write(&Entry {
            timestamp: SystemTime::now(),
            level: if plain && self.attempts < 2 { Level::Info } else { level(judged) },
            message: "request",
            request_id: self.id.as_ref(),
            ip_address: self.said.as_ref().map_or(&self.client.ip, |said| &said.ip),
            method: self.head.method.as_str().as_bytes(),
            host: self.head.authority().as_bytes(),
            path: self.head.path().as_bytes(),
            query: self.head.query().map(str::as_bytes),
            protocol: self.head.version.as_str(),
            tls: session(self.client),
            status,
            grpc_status: self.progress.call.status().map(Code::as_str),
            bytes_in: self.progress.bytes_in.get(),
            bytes_out: self.progress.bytes_out.get(),
            duration: self.started.elapsed(),
            upstream: self.progress.waited.get(),
            route: names.route,
            service: names.service,
            version: names.version,
            region: names.region,
            endpoint: names.endpoint,
            placement: names.placement,
            split: names.split,
            attempts: self.attempts,
            outcome: judged.outcome.as_str(),
            fault: (!plain).then_some(Fault { name: judged.reason, message }),
            first_error: self.first_failure,
            user_agent: self.head.fields.get(Known::UserAgent),
            revision: self.running.live.id.0,
        });
    }

    fn names(&self) -> Names<'_> {
        let Some((route, service)) = self.entry() else { return Names::default() };
        let mut names =
            Names { route: Some(&route.name), service: Some(service.core.name().as_str()), ..Names::default() };
        if let Some(Choice { spot, region, version, .. }) = &self.choice {
            names.placement = Some(region.as_str());
            names.split = Some(version.as_str());
            names.version = Some(service.core.version(spot.version).as_str());
            names.region = Some(service.core.regions()[spot.region].name.as_str());
            names.endpoint = Some(&service.peer(spot).address);
        }
        names
    }
}

#[derive(Default)]
struct Names<'a> {
    route: Option<&'a str>,
    service: Option<&'a str>,
    version: Option<&'a str>,
    region: Option<&'a str>,
    endpoint: Option<&'a str>,
    placement: Option<&'a str>,
    split: Option<&'a str>,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // Without an ending a defect or the drain's deadline cut it.
        let cut = if std::thread::panicking() { Ending::Internal } else { Ending::Draining };
        let judged = self.ending.get_or_insert(cut).judge();
        let status = self.progress.answered.get().or(self.replied);
        self.count(&judged, status);
        self.log(&judged, status);
    }
}

/// Counts and logs a request that was not understood, and gives the reply to it. Nothing of it is believed but where it
/// came from. `waited`: since its first byte.
pub(crate) fn refuse(worker: &Worker, client: &Client, version: Version, refused: Refused, waited: Duration) -> Own {
    worker.metrics.refused(refused.reason);
    let id = RequestId::make(&mut *worker.rng.borrow_mut());
    let own = reply::refusal(&refused, &id);
    if worker.log.is_on() {
        log_refusal(worker, client, version, &refused, &id, waited, own.body.len() as u64);
    }
    own
}

fn log_refusal(
    worker: &Worker,
    client: &Client,
    version: Version,
    refused: &Refused,
    id: &RequestId,
    waited: Duration,
    bytes_out: u64,
) {
    worker.log.write(&Entry {
        timestamp: SystemTime::now(),
        level: Level::Warn,
        message: "request refused",
        request_id: id.as_ref(),
        ip_address: &client.ip,
        method: b"",
        host: b"",
        path: b"",
        query: None,
        protocol: version.as_str(),
        tls: session(client),
        status: Some(refused.status),
        grpc_status: None,
        bytes_in: 0,
        bytes_out,
        duration: waited,
        upstream: None,
        route: None,
        service: None,
        version: None,
        region: None,
        endpoint: None,
        placement: None,
        split: None,
        attempts: 0,
        outcome: Outcome::ClientFault.as_str(),
        fault: Some(Fault { name: refused.reason, message: "the request was not understood" }),
        first_error: None,
        user_agent: None,
        revision: worker.running().live.id.0,
    });
}

fn session(client: &Client) -> Option<Tls<'_>> {
    client.tls.as_ref().map(|session| Tls {
        version: session.version,
        cipher: session.cipher,
        server_name: session.server_name.as_deref(),
        resumed: session.resumed,
    })
}

const fn level(judged: &Judgement) -> Level {
    match judged.outcome {
        Outcome::OriginFault | Outcome::OurFault => Level::Error,
        Outcome::Success | Outcome::ClientFault | Outcome::Cancelled => Level::Warn,
    }
}
