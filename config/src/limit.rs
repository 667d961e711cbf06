//! How large a document may be. All of its limits are here, and each carries the reason for its value.
//!
//! They bound what one document can cost: reading is linear in [`BYTES`] and [`NODES`], so a hostile document is refused
//! within about a second and a few hundred megabytes.

/// Of the text, and of the document after aliases and the environment were filled in: 8 MiB. Routes of 40 bytes fill it at [`ROUTES`].
pub const BYTES: usize = 8 << 20;
/// Lists and maps inside each other. A document that is written by hand has 8.
pub const DEPTH: usize = 64;
/// Values and keys after aliases were expanded. The largest document that [`BYTES`] allows has fewer.
pub const NODES: usize = 2_000_000;
/// Uses of YAML anchors.
pub const ALIASES: usize = 10_000;
/// Listeners. Each has a socket for each worker.
pub const LISTENERS: usize = 64;
/// Certificates of all listeners together. Each is kept in memory, and its files are looked at every other second.
pub const CERTIFICATES: usize = 1_000;
/// The path of a file, in bytes: what Linux takes.
pub const FILE_PATH_BYTES: usize = 4_095;
/// Networks of trusted proxies of one listener. A provider of content delivery has some hundred.
pub const NETWORKS: usize = 10_000;
/// Regions. A region set fits into one machine word.
pub const REGIONS: usize = 64;
/// Services.
pub const SERVICES: usize = 10_000;
/// Versions of one service.
pub const VERSIONS: usize = 64;
/// Endpoints of the whole document. Each is probed on its own.
pub const ENDPOINTS: usize = 100_000;
/// Endpoints that one source may bring, a name of DNS or a file. An answer of DNS has at most some thousand.
pub const DISCOVERED: usize = 10_000;
/// Servers of DNS. More than are asked before a question's time is over help nobody.
pub const DNS_SERVERS: usize = 16;
/// Routes.
pub const ROUTES: usize = 200_000;
/// Routes by regular expression, which are tried one after the other.
pub const REGEXES: usize = 1_000;
/// The text of one regular expression, in bytes.
pub const REGEX_BYTES: usize = 1_024;
/// The compiled form of one regular expression, in bytes.
pub const REGEX_SIZE: usize = 256 << 10;
/// A path in a route or a probe, in bytes.
pub const PATH_BYTES: usize = 2_048;
/// The value of a header or query predicate, in bytes.
pub const VALUE_BYTES: usize = 4_096;
/// A route's name, in bytes. It is a metric label.
pub const ROUTE_NAME_BYTES: usize = 512;
/// Problems that are told one by one; the others are counted.
pub const PROBLEMS: usize = 1_000;
