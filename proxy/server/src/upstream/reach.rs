//! How the endpoints of one service are reached: what they speak, and TLS with its files read.
//!
//! Files are read when a revision is prepared, so that one whose files cannot be used is refused, and looked at again
//! while it runs: new content is used for new connections, and content that cannot be used changes nothing. The
//! configuration is built once for all endpoints and workers, since building it parses every certificate, and since it
//! keeps the sessions that make the next handshake short.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use sluice_config::problem::Path as Place;
use sluice_config::validated::{Connections, OriginTls, Protocol, Service};
use sluice_config::{UnusableFile, Validated};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::trust::{Fault, Material, System};
use crate::live::Live;

/// HTTP/2 by its name in ALPN.
pub(super) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// How the endpoints of one service are reached.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) protocol: Protocol,
    pub(crate) connections: Connections,
    /// The most that may be open to one endpoint; absent: no bound.
    pub(crate) most: Option<u32>,
    tls: Option<Secure>,
}

/// TLS towards the endpoints of one service.
#[derive(Debug)]
struct Secure {
    settings: OriginTls,
    folder: PathBuf,
    name: ServerName<'static>,
    used: ArcSwap<Used>,
    /// What was last found wrong with the files, so that it is told once.
    refused: Mutex<Option<String>>,
}

/// What handshakes use.
#[derive(Debug)]
struct Used {
    material: Material,
    client: Arc<ClientConfig>,
}

impl Reach {
    /// In the clear, by HTTP/1.1.
    #[cfg(test)]
    pub(crate) fn plain(connections: Connections) -> Self {
        Self { protocol: Protocol::Http1, connections, most: None, tls: None }
    }

    /// How each service of a document is reached, in its order. What `before` has and did not change, files included, is
    /// taken over, and with it connections that wait.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(crate) fn all(
        document: &Validated,
        folder: &Path,
        before: Option<&Live>,
    ) -> Result<Vec<Arc<Self>>, Vec<UnusableFile>> {
        let known: BTreeMap<_, _> = before.map(|live| live.reaches().collect()).unwrap_or_default();
        let system = System::default();
        let (mut all, mut faults) = (Vec::with_capacity(document.services.len()), Vec::new());
        for (place, service) in document.services.iter().enumerate() {
            match Self::read(service, folder, &system, known.get(&service.name).copied()) {
                Ok(reach) => all.push(reach),
                Err(fault) => faults.push(fault.at(&of_service(place))),
            }
        }
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }

    fn read(service: &Service, folder: &Path, system: &System, known: Option<&Arc<Self>>) -> Result<Arc<Self>, Fault> {
        let material = service.tls.as_ref().map(|tls| Material::read(tls, folder)).transpose()?;
        if let Some(known) = known.filter(|known| known.is(service, material.as_ref())) {
            return Ok(Arc::clone(known));
        }
        let tls = service.tls.as_ref().zip(material);
        let tls =
            tls.map(|(tls, material)| Secure::new(tls, material, service.protocol, folder, system)).transpose()?;
        let most = service.limits.endpoint.connections;
        Ok(Arc::new(Self { protocol: service.protocol, connections: service.connections, most, tls }))
    }

    /// Whether it is how the service is to be reached.
    fn is(&self, service: &Service, material: Option<&Material>) -> bool {
        let same = match (&self.tls, &service.tls, material) {
            (None, None, _) => true,
            (Some(tls), Some(settings), Some(material)) => {
                tls.settings == *settings && tls.used.load().material == *material
            }
            (None, Some(_), _) | (Some(_), None, _) | (Some(_), Some(_), None) => false,
        };
        let bounds = (self.connections, self.most) == (service.connections, service.limits.endpoint.connections);
        same && self.protocol == service.protocol && bounds
    }

    /// What a handshake needs; nothing where endpoints are spoken to in the clear.
    pub(super) fn tls(&self) -> Option<(TlsConnector, ServerName<'static>)> {
        let tls = self.tls.as_ref()?;
        Some((TlsConnector::from(Arc::clone(&tls.used.load().client)), tls.name.clone()))
    }

    pub(crate) const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Looks at the files again. Blocks. The system's store is not looked at: it is read when the service's TLS is new or changed.
    pub(crate) fn refresh(&self, service: &str) {
        if let Some(tls) = &self.tls {
            tls.refresh(service, self.protocol);
        }
    }
}

fn of_service(place: usize) -> Place {
    Place::default().field("services").item(place).field("tls")
}

impl Secure {
    fn new(
        settings: &OriginTls,
        material: Material,
        protocol: Protocol,
        folder: &Path,
        system: &System,
    ) -> Result<Self, Fault> {
        let client = Arc::new(client(&material, protocol, system)?);
        let name =
            ServerName::try_from(settings.server_name.clone()).map_err(|_| Fault::name(&settings.server_name))?;
        let used = ArcSwap::from_pointee(Used { material, client });
        let (settings, folder) = (settings.clone(), folder.to_owned());
        Ok(Self { settings, folder, name, used, refused: Mutex::default() })
    }

    fn refresh(&self, service: &str, protocol: Protocol) {
        let read = Material::read(&self.settings, &self.folder);
        let used = self.used.load();
        let built = match read {
            Ok(material) if material == used.material => return self.refuse(service, None),
            Ok(material) => client(&material, protocol, &System::default())
                .map(|client| Used { material, client: Arc::new(client) }),
            Err(fault) => Err(fault),
        };
        match built {
            Ok(new) => {
                self.used.store(Arc::new(new));
                self.refuse(service, None);
                tracing::info!(service, "new connections to endpoints use the new content of the TLS files");
            }
            Err(fault) => self.refuse(service, Some(fault.to_string())),
        }
    }

    /// Tells what is wrong with the files when it was not told before.
    fn refuse(&self, service: &str, why: Option<String>) {
        let mut refused = self.refused.lock().expect("nobody panics while holding this lock");
        if *refused != why {
            if let Some(why) = &why {
                tracing::warn!(service, why, "TLS files cannot be used; connections go on with what was read before");
            }
            *refused = why;
        }
    }
}

fn client(material: &Material, protocol: Protocol, system: &System) -> Result<ClientConfig, Fault> {
    let mut client = material.client(system)?;
    client.alpn_protocols = match protocol {
        Protocol::Http1 => vec![HTTP1.to_vec()],
        Protocol::Http2 => vec![H2.to_vec()],
    };
    Ok(client)
}
