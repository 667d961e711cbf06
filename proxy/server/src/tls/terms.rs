//! What one listener shows and asks in a handshake.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_config::validated::{ClientAuthMode, HostMismatch, Tls, TlsVersion};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SignatureScheme};

use super::names::behind_star;
use super::pair::{Authority, Pair};

/// Everything that a handshake on one listener needs.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(super) config: Arc<ServerConfig>,
    pub(super) shown: Arc<Shown>,
    pub(super) http2: bool,
    pub(super) host_mismatch: HostMismatch,
    /// For the whole handshake, from the connection's start.
    pub(crate) handshake_timeout: Duration,
}

impl Terms {
    /// `pairs` are those of the settings, in their order; `authority` is there if the settings ask for certificates.
    pub(super) fn new(
        settings: &Tls,
        pairs: Vec<Arc<Pair>>,
        authority: Option<&Authority>,
        tickets: Arc<dyn ProducesTickets>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let shown = Arc::new(Shown::new(pairs, settings.require_sni));
        let versions: &[_] = match settings.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .expect("the provider has suites of both versions");
        let mode = settings.client_auth.as_ref().map(|auth| auth.mode);
        let builder = match mode.zip(authority) {
            Some((mode, authority)) => builder.with_client_cert_verifier(verifier(mode, authority, provider)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&shown) as _);
        config.ticketer = tickets;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = if settings.http2 { vec![b"h2".to_vec()] } else { Vec::new() };
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Self {
            config: Arc::new(config),
            shown,
            http2: settings.http2,
            host_mismatch: settings.host_mismatch,
            handshake_timeout: settings.handshake_timeout,
        }
    }
}

fn verifier(
    mode: ClientAuthMode,
    authority: &Authority,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authority.roots), Arc::clone(provider));
    let builder = match mode {
        ClientAuthMode::Required => builder,
        ClientAuthMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().expect("an authority that was read has a certificate, and no revocation list is given")
}

/// The certificates of one listener by their names.
#[derive(Debug)]
pub(super) struct Shown {
    pairs: Vec<Arc<Pair>>,
    /// For each name, those that hold it, in their order.
    exact: HashMap<Box<str>, Vec<usize>>,
    wildcards: HashMap<Box<str>, Vec<usize>>,
    /// For every other name, and for none; empty where a name is required.
    rest: Vec<usize>,
}

impl Shown {
    fn new(pairs: Vec<Arc<Pair>>, require_name: bool) -> Self {
        let (mut exact, mut wildcards) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (place, pair) in pairs.iter().enumerate() {
            pair.names.exact.iter().for_each(|name| exact.entry(name.clone()).or_default().push(place));
            pair.names.wildcards.iter().for_each(|name| wildcards.entry(name.clone()).or_default().push(place));
        }
        let like_first = |pair: &Arc<Pair>| pairs.first().is_some_and(|first| first.names == pair.names);
        let rest = pairs.iter().enumerate().filter(|(_, pair)| !require_name && like_first(pair));
        Self { rest: rest.map(|(place, _)| place).collect(), exact, wildcards, pairs }
    }

    /// What a client is shown that asks for this name and takes signatures of these kinds; nothing if it must ask for
    /// another name. O(1) but for certificates that share a name.
    pub(super) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Pair>> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
        let exact = name.and_then(|name| self.exact.get(name));
        let wildcard = || name.and_then(behind_star).and_then(|suffix| self.wildcards.get(suffix));
        let holders = exact.or_else(wildcard).unwrap_or(&self.rest);
        let takes = |place: &&usize| self.pairs[**place].key.key.choose_scheme(schemes).is_some();
        // A client that takes none of them hears that from the handshake.
        holders.iter().find(takes).or_else(|| holders.first()).map(|place| &self.pairs[*place])
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).map(|pair| Arc::clone(&pair.key))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
    use sluice_config::validated::Certificate;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::super::names::Names;
    use super::*;

    /// A pair with a key of this kind, and these names in the table; the certificate itself is of no interest.
    fn pair_of(kind: &'static SignatureAlgorithm, names: &[&str]) -> Arc<Pair> {
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = ring::default_provider();
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider).unwrap();
        let files = Certificate { cert: names.join(" "), key: String::new() };
        let names = Names::from_list(names);
        Arc::new(Pair { files, key: Arc::new(key), names, begins: 0, ends: 0, exposed: false })
    }

    pub(in crate::tls) fn pair(names: &[&str]) -> Arc<Pair> {
        pair_of(&rcgen::PKCS_ECDSA_P256_SHA256, names)
    }

    const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    fn chosen<'a>(shown: &'a Shown, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&'a str> {
        shown.choose(name, schemes).map(|pair| pair.files.cert.as_str())
    }

    #[test]
    fn the_most_exact_name_is_shown_and_the_first_one_otherwise() {
        let pairs = || vec![pair(&["first.test"]), pair(&["*.wild.test"]), pair(&["a.wild.test", "b.test"])];
        let shown = Shown::new(pairs(), false);
        let first = Some("first.test");
        for (name, expected) in [
            (Some("first.test"), first),
            (Some("a.wild.test"), Some("a.wild.test b.test")),
            (Some("b.wild.test"), Some("*.wild.test")),
            (Some("b.wild.test."), Some("*.wild.test")),
            (Some("b.test"), Some("a.wild.test b.test")),
            (Some("a.b.wild.test"), first),
            (Some("wild.test"), first),
            (Some("other.test"), first),
            (None, first),
        ] {
            assert_eq!(chosen(&shown, name, P256), expected, "{name:?}");
        }
        let strict = Shown::new(pairs(), true);
        assert_eq!(chosen(&strict, Some("b.wild.test"), P256), Some("*.wild.test"));
        assert_eq!((chosen(&strict, Some("other.test"), P256), chosen(&strict, None, P256)), (None, None));
    }

    #[test]
    fn of_two_kinds_of_key_the_client_gets_one_that_it_takes() {
        let (p256, ed25519) = (pair(&["a.test"]), pair_of(&rcgen::PKCS_ED25519, &["a.test"]));
        let shown = Shown::new(vec![Arc::clone(&p256), Arc::clone(&ed25519)], false);
        for name in [Some("a.test"), None] {
            let kind = |schemes: &[SignatureScheme]| Arc::clone(shown.choose(name, schemes).unwrap());
            assert!(Arc::ptr_eq(&kind(&[SignatureScheme::ED25519]), &ed25519));
            assert!(Arc::ptr_eq(&kind(&[SignatureScheme::ED25519, P256[0]]), &p256), "the first that it takes");
            assert!(Arc::ptr_eq(&kind(&[SignatureScheme::RSA_PSS_SHA256]), &p256), "the handshake says that none fits");
        }
    }
}
