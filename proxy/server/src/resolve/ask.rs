//! Questions to DNS.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use sluice_config::validated::{Family, Query, Resolver};
use sluice_config::value::Weight;
use sluice_proxy_core::discovery::{Absence, Answer, Failure, Found, Target, preferred};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::tls::Stamps;

/// Where the system keeps its servers.
const SYSTEM: &str = "/etc/resolv.conf";

/// Questions that are asked at once. A document with thousands of names must not flood its server when it begins.
const PLACES: usize = 64;

/// Targets of one answer that are asked for at once: one with thousands must leave places for other sources.
const ABREAST: usize = 8;

/// A question that is not answered is asked once more within its time.
const TRIES: u32 = 2;

/// Asks by the settings of a document.
pub(super) struct Asker {
    settings: Resolver,
    places: Semaphore,
    built: Mutex<Option<Built>>,
}

/// What asks, and what it was made of.
struct Built {
    system: Option<Stamps>,
    client: Result<TokioResolver, String>,
}

impl Asker {
    pub(super) const fn new(settings: Resolver) -> Self {
        Self { settings, places: Semaphore::const_new(PLACES), built: Mutex::new(None) }
    }

    pub(super) const fn settings(&self) -> &Resolver {
        &self.settings
    }

    /// One round of questions, each with its answer. A file is not asked for here.
    pub(super) async fn ask(&self, query: &Query) -> Vec<(String, Answer)> {
        match query {
            Query::Dns { name, port, family } => self.addresses(name, *port, *family, None).await,
            Query::Srv { name, family } => self.targets(name, *family).await,
            Query::File { .. } => Vec::new(),
        }
    }

    async fn targets(&self, name: &str, family: Family) -> Vec<(String, Answer)> {
        let question = format!("{name} SRV");
        let lookup = match self.lookup(name, RecordType::SRV).await {
            Ok(lookup) => lookup,
            Err(answer) => return vec![(question, answer)],
        };
        let targets: Vec<Target> = lookup.answers().iter().filter_map(|record| target(&record.data)).collect();
        let preferred = preferred(&targets);
        if preferred.is_empty() {
            return vec![(question, Answer::Nothing(Absence::Records))];
        }
        let (mut answers, ttl) = (Vec::new(), ttl(&lookup));
        for some in preferred.chunks(ABREAST) {
            let asking =
                some.iter().map(|(target, weight)| self.addresses(&target.host, target.port, family, Some(*weight)));
            answers.extend(join_all(asking).await.into_iter().flatten());
        }
        answers.into_iter().map(|(question, answer)| (question, at_most(answer, ttl))).collect()
    }

    /// The addresses of a name, by the kinds that are asked for.
    async fn addresses(&self, name: &str, port: u16, family: Family, weight: Option<Weight>) -> Vec<(String, Answer)> {
        let kinds: &[RecordType] = match family {
            Family::Any => &[RecordType::A, RecordType::AAAA],
            Family::Ipv4 => &[RecordType::A],
            Family::Ipv6 => &[RecordType::AAAA],
        };
        let asking = kinds.iter().map(async |kind| {
            let answer = match self.lookup(name, *kind).await {
                Err(answer) => answer,
                Ok(lookup) => {
                    let ips = lookup.answers().iter().filter_map(|record| address(&record.data));
                    let found = ips.map(|ip| Found { address: SocketAddr::new(ip, port), weight, zone: None });
                    Answer::Found(found.collect(), ttl(&lookup))
                }
            };
            (format!("{name}:{port} {kind}"), answer)
        });
        join_all(asking).await
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Lookup, Answer> {
        let _place = self.places.acquire().await;
        let client = self.client().map_err(|why| Answer::Failed(Failure::Unreachable(why)))?;
        // The dot makes it whole.
        let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))
            .map_err(|error| Answer::Failed(Failure::Malformed(error.to_string())))?;
        match timeout(self.settings.timeout, client.lookup(name, kind)).await {
            Ok(Ok(lookup)) => Ok(lookup),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Answer::Failed(Failure::Timeout)),
        }
    }

    /// What asks; made anew when the system's servers have changed.
    fn client(&self) -> Result<TokioResolver, String> {
        let system = self.settings.servers.is_empty().then(|| Stamps::of([Path::new(SYSTEM)]));
        // A panic leaves what was built before, or nothing.
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = built.as_ref().filter(|built| built.system == system) {
            return built.client.clone();
        }
        let client = build(&self.settings);
        built.insert(Built { system, client }).client.clone()
    }
}

fn build(settings: &Resolver) -> Result<TokioResolver, String> {
    let (config, mut options) = if settings.servers.is_empty() {
        hickory_resolver::system_conf::read_system_conf().map_err(|error| format!("{SYSTEM}: {error}"))?
    } else {
        let servers = settings.servers.iter().map(|server| name_server(*server)).collect();
        (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
    };
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = settings.timeout / TRIES;
    options.attempts = TRIES as usize - 1;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|error| error.to_string())
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(server.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
}

const fn address(data: &RData) -> Option<IpAddr> {
    if let RData::A(ip) = data {
        return Some(IpAddr::V4(ip.0));
    }
    if let RData::AAAA(ip) = data { Some(IpAddr::V6(ip.0)) } else { None }
}

fn target(data: &RData) -> Option<Target> {
    let RData::SRV(srv) = data else { return None };
    let host = srv.target.to_ascii().to_ascii_lowercase();
    Some(Target { priority: srv.priority, weight: srv.weight, port: srv.port, host })
}

/// For how long the whole answer holds, aliases on the way included.
fn ttl(lookup: &Lookup) -> Duration {
    let least = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(least.unwrap_or_default().into())
}

/// What a target leads to holds as long as both, the target and its addresses.
fn at_most(answer: Answer, most: Duration) -> Answer {
    match answer {
        Answer::Found(found, ttl) => Answer::Found(found, ttl.min(most)),
        Answer::Nothing(_) | Answer::Failed(_) => answer,
    }
}

/// What an error of the resolver says about the name.
#[expect(clippy::wildcard_enum_match_arm, reason = "the resolver may learn new errors, and none of them is an answer")]
fn refused(error: &NetError) -> Answer {
    let failure = match error {
        NetError::Dns(DnsError::NoRecordsFound(nothing)) => match nothing.response_code {
            ResponseCode::NXDomain => return Answer::Nothing(Absence::Name),
            ResponseCode::NoError => return Answer::Nothing(Absence::Records),
            code => by_code(code),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => by_code(*code),
        NetError::Timeout => Failure::Timeout,
        NetError::Io(error) => Failure::Unreachable(error.to_string()),
        NetError::NoConnections => Failure::Unreachable("no connection to it can be made".to_owned()),
        other => Failure::Malformed(other.to_string()),
    };
    Answer::Failed(failure)
}

fn by_code(code: ResponseCode) -> Failure {
    if code == ResponseCode::ServFail {
        Failure::ServerFailure
    } else if code == ResponseCode::Refused {
        Failure::Refused
    } else {
        Failure::Malformed(format!("{code}"))
    }
}
