//! A document, put together by a suite and changed under traffic.

use std::fmt;
use std::net::SocketAddr;

/// Prints itself as YAML. What a suite does not set is not written, so that the product's defaults hold.
#[derive(Debug, Clone, Default)]
pub struct Document {
    listeners: Vec<(String, SocketAddr, String)>,
    regions: Vec<(String, String)>,
    services: Vec<Service>,
    routes: Vec<String>,
    settings: Vec<String>,
}

#[derive(Debug, Clone)]
struct Service {
    name: String,
    settings: String,
    versions: Vec<Version>,
}

#[derive(Debug, Clone)]
struct Version {
    name: String,
    weight: u32,
    pools: Vec<(String, Vec<SocketAddr>)>,
}

impl Document {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The shortest useful one: every path of every host goes to one endpoint.
    #[must_use]
    pub fn simple(listener: SocketAddr, endpoint: SocketAddr) -> Self {
        Self::new()
            .listener("web", listener, "")
            .region("here", "")
            .service("shop", "")
            .version("v1", 100, &[("here", &[endpoint])])
            .route("{ path: / }", "service: shop")
    }

    /// Adds a listener; `settings` are further keys in flow style (`limits: { connections: 2 }`).
    #[must_use]
    pub fn listener(mut self, name: &str, address: SocketAddr, settings: &str) -> Self {
        self.listeners.push((name.to_owned(), address, settings.to_owned()));
        self
    }

    /// Takes a listener away.
    #[must_use]
    pub fn without_listener(mut self, name: &str) -> Self {
        self.listeners.retain(|(have, _, _)| have != name);
        self
    }

    /// Adds a region; `settings` are further keys in flow style (`role: primary, weight: 70`).
    #[must_use]
    pub fn region(mut self, name: &str, settings: &str) -> Self {
        self.regions.push((name.to_owned(), settings.to_owned()));
        self
    }

    /// Adds a service; `settings` are further keys in flow style (`split: random, timeouts: { connect: 1s }`).
    #[must_use]
    pub fn service(mut self, name: &str, settings: &str) -> Self {
        self.services.push(Service { name: name.to_owned(), settings: settings.to_owned(), versions: Vec::new() });
        self
    }

    /// Adds a version to the last service, with its endpoints by region.
    ///
    /// # Panics
    /// When there is no service yet.
    #[must_use]
    pub fn version(mut self, name: &str, weight: u32, pools: &[(&str, &[SocketAddr])]) -> Self {
        let pools = pools.iter().map(|(region, addresses)| ((*region).to_owned(), addresses.to_vec())).collect();
        let service = self.services.last_mut().expect("a version belongs to a service");
        service.versions.push(Version { name: name.to_owned(), weight, pools });
        self
    }

    /// Changes the weight of a version.
    ///
    /// # Panics
    /// When there is no such version.
    #[must_use]
    pub fn weight(mut self, service: &str, version: &str, weight: u32) -> Self {
        self.version_mut(service, version).weight = weight;
        self
    }

    /// Changes the endpoints of a version in a region where it has some.
    ///
    /// # Panics
    /// When there is no such pool.
    #[must_use]
    pub fn endpoints(mut self, service: &str, version: &str, region: &str, addresses: &[SocketAddr]) -> Self {
        let pools = &mut self.version_mut(service, version).pools;
        pools.iter_mut().find(|(name, _)| name == region).expect("a pool in this region").1 = addresses.to_vec();
        self
    }

    fn version_mut(&mut self, service: &str, version: &str) -> &mut Version {
        let versions = self.services.iter_mut().find(|s| s.name == service).map(|s| &mut s.versions);
        versions.and_then(|all| all.iter_mut().find(|v| v.name == version)).expect("a version of this name")
    }

    /// Adds a route: its match in flow style (`{ host: a.test, path: / }`) and further keys (`service: shop, version: v1`).
    #[must_use]
    pub fn route(mut self, matches: &str, target: &str) -> Self {
        self.routes.push(format!("{{ match: {matches}, {target} }}"));
        self
    }

    /// Takes the last route away.
    #[must_use]
    pub fn without_last_route(mut self) -> Self {
        self.routes.pop();
        self
    }

    /// Adds a line at the top level (`drain: { deadline: 5s }`).
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.settings {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "listeners:")?;
        for (name, address, settings) in &self.listeners {
            writeln!(f, "  - {{ name: {name}, address: \"{address}\"{} }}", further(settings))?;
        }
        if !self.regions.is_empty() {
            writeln!(f, "regions:")?;
        }
        for (name, settings) in &self.regions {
            writeln!(f, "  - {{ name: {name}{} }}", further(settings))?;
        }
        writeln!(f, "services:")?;
        self.services.iter().try_for_each(|service| service.fmt(f))?;
        writeln!(f, "routes:")?;
        self.routes.iter().try_for_each(|route| writeln!(f, "  - {route}"))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  - {{ name: {}{}, versions: [", self.name, further(&self.settings))?;
        for version in &self.versions {
            writeln!(f, "      {{ name: {}, weight: {}, endpoints: {{", version.name, version.weight)?;
            for (region, addresses) in &version.pools {
                let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
                writeln!(f, "          {region}: [{}],", quoted.join(", "))?;
            }
            writeln!(f, "      }} }},")?;
        }
        writeln!(f, "    ] }}")
    }
}

fn further(settings: &str) -> String {
    if settings.is_empty() { String::new() } else { format!(", {settings}") }
}
