//! What a listener shows its clients before they speak, and asks of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::validated::{ClientAuthMode, HostMismatch, TlsVersion};

/// TLS on a listener. Paths are relative to the document's folder, with `sluice proxy` to that of `--files`; the files are read again when they change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// What is shown, by the name that the client asks for: 1 to 1,000 of all listeners together. A name in a certificate is exact before a wildcard (`*.example.com`, one label); of several that hold it, the first whose kind of key the client takes. The first one is shown for any other name, and where no name is asked for.
    #[schemars(length(min = 1))]
    pub(crate) certificates: Vec<Certificate>,
    /// Whether a client must ask for a name that a certificate holds, else the handshake ends with `unrecognized_name`. Default `false`.
    #[serde(default)]
    pub(crate) require_sni: bool,
    /// The oldest version that is spoken, in quotes. Default `"1.2"`.
    #[serde(default)]
    pub(crate) min_version: TlsVersion,
    /// Asks clients for a certificate, which is told to endpoints in `Client-Cert` and `X-Forwarded-Client-Cert`. Default: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuth>,
    /// Whether HTTP/2 is offered (by ALPN) beside HTTP/1.1. Default `true`.
    #[serde(default = "yes")]
    pub(crate) http2: bool,
    /// Time for the whole handshake, from the connection's start. Default `10s`.
    #[serde(default = "handshake_timeout")]
    pub(crate) handshake_timeout: Span,
    /// A request for a host that is neither the name the client asked for in the handshake nor in the certificate that it was shown: `refuse` answers 421, `allow` routes it as any other. Default `refuse`.
    #[serde(default)]
    pub(crate) host_mismatch: HostMismatch,
}

/// A certificate and its key, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    /// The file of the certificate, with those that lead from it to what clients trust behind it.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) cert: String,
    /// The file of its key, which only Sluice should be able to read.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) key: String,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuth {
    /// The file of the certificates, in PEM form, that clients' certificates are signed by.
    #[schemars(extend("format" = "file-path"))]
    pub(crate) ca: String,
    /// Whether a client may show none; one that is shown must be good in either case. Default `required`.
    #[serde(default)]
    pub(crate) mode: ClientAuthMode,
}

const fn yes() -> bool {
    true
}

fn handshake_timeout() -> Span {
    Span::seconds(10)
}
