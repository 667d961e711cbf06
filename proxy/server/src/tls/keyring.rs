//! Every certificate, key and authority that the process has read, and the terms that they make for each listener.
//!
//! What is held is served until something better is read: a revision that names a file for the first time is refused if the file
//! cannot be used, but a file that was good and is now broken changes nothing, neither when it is looked at again nor when
//! another revision names it too. The obvious other rule, to read everything anew for each revision, would let one bad
//! file on one machine stand in the way of a shift or an evacuation.
//!
//! A renewal writes two files, and one of them first. So what does not fit together is tried once more at the next look, and
//! told only then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sluice_config::name::ListenerName;
use sluice_config::validated::{Certificate, ClientAuthMode, Tls, Validated};
use sluice_config::{UnusableFile, problem};
use tokio::signal::unix::Signal;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::ProducesTickets;

use super::pair::{Authority, Fault, Pair};
use super::stamp::Stamps;
use super::terms::Terms;
use crate::listener::Gate;
use crate::metrics::{Expiry, Metrics};

/// Between two looks at all files.
const LOOK: Duration = Duration::from_secs(2);

/// When the end of a certificate is near enough to be somebody's work.
const NEAR: i64 = 7 * 86_400;

/// Something that was read from files, and how they stood then.
#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    stamps: Stamps,
    refused: Option<Refused>,
}

/// What the files hold by now and is not served.
#[derive(Debug, Clone)]
struct Refused {
    stamps: Stamps,
    why: String,
    told: bool,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), stamps: self.stamps.clone(), refused: self.refused.clone() }
    }
}

/// What one look at files that are held found.
enum Look<T> {
    /// They are as they were.
    Same,
    New(Held<T>),
    Bad(Stamps, Fault),
}

impl<T> Held<T> {
    fn read(stamps: Stamps, read: impl FnOnce() -> Result<T, Fault>) -> Result<Self, Fault> {
        Ok(Self { value: Arc::new(read()?), stamps, refused: None })
    }

    fn look(&self, stamps: Stamps, read: impl FnOnce() -> Result<T, Fault>) -> Look<T> {
        if self.stamps == stamps {
            return Look::Same;
        }
        match Self::read(stamps.clone(), read) {
            Ok(new) => Look::New(new),
            Err(fault) => Look::Bad(stamps, fault),
        }
    }

    /// Takes in what was found; whether that is new.
    fn take(&mut self, look: Look<T>, urgent: bool, metrics: &Metrics) -> bool {
        match look {
            Look::Same => self.refused = None,
            Look::Bad(stamps, fault) => self.refuse(stamps, &fault, urgent, metrics),
            Look::New(new) => {
                *self = new;
                metrics.certificate_read(true);
                return true;
            }
        }
        false
    }

    fn refuse(&mut self, stamps: Stamps, fault: &Fault, urgent: bool, metrics: &Metrics) {
        let before = self.refused.take().filter(|refused| refused.stamps == stamps);
        let told = before.as_ref().is_some_and(|refused| refused.told);
        let tell = !told && (urgent || before.is_some());
        if tell {
            metrics.certificate_read(false);
            let Fault { message, hint, .. } = fault;
            tracing::warn!("{message}; {hint}. What was read before is served on");
        }
        self.refused = Some(Refused { stamps, why: fault.message.clone(), told: told || tell });
    }

    fn trouble(&self) -> Option<&str> {
        self.refused.as_ref().filter(|refused| refused.told).map(|refused| refused.why.as_str())
    }
}

/// What the keys of tickets depend on: whose certificates a session may carry, and whether it must.
type TicketKey = ([u8; 32], ClientAuthMode);

/// All that one document shows and asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring {
    pairs: BTreeMap<Certificate, Held<Pair>>,
    authorities: BTreeMap<String, Held<Authority>>,
    tickets: BTreeMap<TicketKey, Arc<dyn ProducesTickets>>,
    listeners: BTreeMap<ListenerName, Secured>,
}

#[derive(Debug, Clone)]
struct Secured {
    settings: Tls,
    terms: Arc<Terms>,
    /// Where the terms are in force, once they are.
    gate: Option<Arc<Gate>>,
}

impl Ring {
    /// What the listener of this name shows; nothing where it speaks in the clear.
    pub(crate) fn terms(&self, listener: &ListenerName) -> Option<Arc<Terms>> {
        self.listeners.get(listener).map(|secured| Arc::clone(&secured.terms))
    }

    /// Reads what `before` does not have of one listener's files.
    fn gather(&mut self, before: &Self, reader: &Reader<'_>, tls: &Tls) -> Vec<(problem::Path, Fault)> {
        let mut faults = Vec::new();
        let at = problem::Path::default().field("tls");
        for (place, files) in tls.certificates.iter().enumerate() {
            let known = self.pairs.get(files).or_else(|| before.pairs.get(files)).cloned();
            let must_be_asked_for = place > 0 || tls.require_sni;
            match known.map_or_else(|| reader.pair(files), Ok) {
                Ok(pair) if must_be_asked_for && !pair.value.names.can_be_asked_for() => {
                    faults.push((at.clone().field("certificates").item(place), nameless(reader.folder, files)));
                }
                Ok(pair) => drop(self.pairs.insert(files.clone(), pair)),
                Err(fault) => faults.push((at.clone().field("certificates").item(place), fault)),
            }
        }
        if let Some(auth) = &tls.client_auth {
            let known = self.authorities.get(&auth.ca).or_else(|| before.authorities.get(&auth.ca)).cloned();
            match known.map_or_else(|| reader.authority(&auth.ca), Ok) {
                Ok(authority) => drop(self.authorities.insert(auth.ca.clone(), authority)),
                Err(fault) => faults.push((at.field("client_auth"), fault)),
            }
        }
        faults
    }

    /// Everything that a document names, without terms, or all that is wrong with it.
    fn gather_all(before: &Self, reader: &Reader<'_>, document: &Validated) -> Result<Self, Vec<UnusableFile>> {
        let (mut ring, mut found) = (Self::default(), Vec::new());
        for (place, listener) in document.listeners.iter().enumerate() {
            let faults = listener.tls.as_ref().map(|tls| ring.gather(before, reader, tls)).unwrap_or_default();
            found.extend(faults.into_iter().map(|(at, fault)| unusable(place, &at, fault)));
        }
        if found.is_empty() { Ok(ring) } else { Err(found) }
    }

    fn make_terms(&mut self, settings: &Tls, keyring: &Keyring) -> Result<Terms, rustls::Error> {
        let pairs = settings.certificates.iter().filter_map(|files| self.pairs.get(files));
        let pairs = pairs.map(|held| Arc::clone(&held.value)).collect();
        let auth = settings.client_auth.as_ref();
        let authority = auth.and_then(|auth| self.authorities.get(&auth.ca)).map(|held| Arc::clone(&held.value));
        let key = authority.as_ref().zip(auth).map(|(authority, auth)| (authority.digest, auth.mode));
        let tickets = match key {
            None => Arc::clone(&keyring.tickets),
            Some(key) => match self.tickets.get(&key) {
                Some(known) => Arc::clone(known),
                None => Arc::clone(self.tickets.entry(key).or_insert(ring::Ticketer::new()?)),
            },
        };
        Ok(Terms::new(settings, pairs, authority.as_deref(), tickets, &keyring.provider))
    }

    /// Makes the terms of listeners anew of which something was renewed, and puts them in force.
    fn renew(&mut self, pairs: &[Certificate], authorities: &[String], keyring: &Keyring) {
        let concerned = |tls: &Tls| {
            tls.certificates.iter().any(|files| pairs.contains(files))
                || tls.client_auth.as_ref().is_some_and(|auth| authorities.contains(&auth.ca))
        };
        let mut listeners = std::mem::take(&mut self.listeners);
        for (name, secured) in listeners.iter_mut().filter(|(_, secured)| concerned(&secured.settings)) {
            match self.make_terms(&secured.settings, keyring) {
                Ok(terms) => secured.force(Arc::new(terms)),
                Err(error) => tracing::error!(listener = %name, %error, "renewed certificates are not served"),
            }
        }
        self.listeners = listeners;
    }

    fn expiries(&self) -> Vec<Expiry> {
        let of = |(listener, secured): (&ListenerName, &Secured)| {
            let pairs = secured.settings.certificates.iter().filter_map(|files| self.pairs.get(files));
            let expiry = |held: &Held<Pair>| Expiry {
                listener: listener.clone(),
                certificate: held.value.files.cert.clone(),
                at: held.value.ends,
            };
            pairs.map(expiry).collect::<Vec<_>>()
        };
        self.listeners.iter().flat_map(of).collect()
    }

    fn troubles(&self, now: i64) -> Vec<String> {
        let ends = self.pairs.values().filter_map(|held| ending(&held.value, now));
        let pairs = self.pairs.values().filter_map(Held::trouble);
        let refused = pairs.chain(self.authorities.values().filter_map(Held::trouble));
        ends.chain(refused.map(|why| format!("{why}; what was read before is served"))).collect()
    }
}

impl Secured {
    fn force(&mut self, terms: Arc<Terms>) {
        self.terms = terms;
        if let Some(gate) = &self.gate {
            gate.secure(Some(Arc::clone(&self.terms)));
        }
    }
}

/// What is to be done about the end, or the beginning, of a certificate's life.
fn ending(pair: &Pair, now: i64) -> Option<String> {
    let cert = &pair.files.cert;
    match pair.ends - now {
        _ if pair.begins > now => Some(format!("{cert} is not valid yet")),
        ..=0 => Some(format!("{cert} has expired")),
        left @ ..NEAR => Some(format!("{cert} expires in {} h", left / 3600)),
        _ => None,
    }
}

fn nameless(folder: &Path, files: &Certificate) -> Fault {
    Fault {
        field: "cert",
        message: format!("{} holds no DNS name, so that no client can ask for it", folder.join(&files.cert).display()),
        hint: "have it issued with subject alternative names, or make it the only one".to_owned(),
    }
}

/// `at` is the way from the listener to the value that has the field.
fn unusable(listener: usize, at: &problem::Path, fault: Fault) -> UnusableFile {
    let path = problem::Path::default().field("listeners").item(listener);
    let path = at.steps().iter().fold(path, |path, step| match step {
        problem::Step::Field(name) => path.field(name),
        problem::Step::Item(place) => path.item(*place),
    });
    UnusableFile { path: path.field(fault.field), message: fault.message, hint: fault.hint }
}

/// What is wrong with the files that a sound document names, where relative paths begin at `folder`. Blocks.
#[must_use]
pub(crate) fn unusable_files(document: &Validated, folder: &Path) -> Vec<UnusableFile> {
    let provider = ring::default_provider();
    let reader = Reader { folder, provider: &provider };
    Ring::gather_all(&Ring::default(), &reader, document).err().unwrap_or_default()
}

struct Reader<'a> {
    folder: &'a Path,
    provider: &'a CryptoProvider,
}

impl Reader<'_> {
    fn pair_stamps(&self, files: &Certificate) -> Stamps {
        Stamps::of([self.folder.join(&files.cert).as_path(), self.folder.join(&files.key).as_path()])
    }

    fn pair(&self, files: &Certificate) -> Result<Held<Pair>, Fault> {
        // Before they are read: what is written meanwhile is seen at the next look.
        Held::read(self.pair_stamps(files), || Pair::read(self.folder, files, self.provider))
    }

    fn look_at_pair(&self, files: &Certificate, held: &Held<Pair>) -> Look<Pair> {
        held.look(self.pair_stamps(files), || Pair::read(self.folder, files, self.provider))
    }

    fn authority(&self, file: &str) -> Result<Held<Authority>, Fault> {
        let path = self.folder.join(file);
        Held::read(Stamps::of([path.as_path()]), || Authority::read(&path))
    }

    fn look_at_authority(&self, file: &str, held: &Held<Authority>) -> Look<Authority> {
        let path = self.folder.join(file);
        held.look(Stamps::of([path.as_path()]), || Authority::read(&path))
    }
}

/// What is held for the document that runs.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// Where relative paths begin.
    folder: PathBuf,
    provider: Arc<CryptoProvider>,
    /// Of all listeners that ask for no certificate.
    tickets: Arc<dyn ProducesTickets>,
    ring: Mutex<Ring>,
    metrics: Metrics,
}

impl Keyring {
    /// An empty one.
    ///
    /// # Errors
    /// When the system gives no chance to make keys of.
    pub(crate) fn new(folder: PathBuf, metrics: Metrics) -> std::io::Result<Self> {
        let tickets = ring::Ticketer::new().map_err(std::io::Error::other)?;
        let provider = Arc::new(ring::default_provider());
        Ok(Self { folder, provider, tickets, ring: Mutex::default(), metrics })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Each change is complete in itself.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { folder: &self.folder, provider: &self.provider }
    }

    /// Reads what a document names and is not held yet, and makes its terms. Changes nothing. Blocks.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub(crate) fn prepare(&self, document: &Validated) -> Result<Ring, Vec<UnusableFile>> {
        let before = self.ring().clone();
        let mut ring = Ring::gather_all(&before, &self.reader(), document)?;
        ring.tickets.clone_from(&before.tickets);
        for (place, listener) in document.listeners.iter().enumerate() {
            let Some(settings) = &listener.tls else { continue };
            let known = before.listeners.get(&listener.name).filter(|known| known.settings == *settings);
            let terms = match known {
                Some(known) => Arc::clone(&known.terms),
                None => Arc::new(ring.make_terms(settings, self).map_err(|error| vec![no_chance(place, &error)])?),
            };
            let secured = Secured { settings: settings.clone(), terms, gate: None };
            ring.listeners.insert(listener.name.clone(), secured);
        }
        Ok(ring)
    }

    /// What was prepared is in force from now on, at these gates.
    pub(crate) fn hold(&self, mut ring: Ring, gate: impl Fn(&ListenerName) -> Option<Arc<Gate>>) {
        for (name, secured) in &mut ring.listeners {
            secured.gate = gate(name);
        }
        let asked = |key: &TicketKey| ring.authorities.values().any(|held| held.value.digest == key.0);
        ring.tickets.retain(|key, _| asked(key));
        let before = std::mem::replace(&mut *self.ring(), ring);
        self.warn_of_new(&before);
        self.tell();
    }

    /// Warns of what an operator should know of pairs that `before` did not have.
    fn warn_of_new(&self, before: &Ring) {
        let (ring, now) = (self.ring(), seconds(SystemTime::now()));
        for (files, held) in &ring.pairs {
            if before.pairs.get(files).is_none_or(|known| !Arc::ptr_eq(&known.value, &held.value)) {
                warn(&held.value, now);
            }
        }
    }

    fn tell(&self) {
        let expiries = self.ring().expiries();
        self.metrics.tell_certificates(expiries);
    }

    /// Looks at all files again and takes what is new and good. `urgent`: what is bad is told at once. Blocks.
    fn look(&self, urgent: bool) {
        let (before, reader) = (self.ring().clone(), self.reader());
        let pairs = before.pairs.iter().map(|(files, held)| (files, held, reader.look_at_pair(files, held)));
        let pairs: Vec<_> = pairs.collect();
        let authorities = before.authorities.iter();
        let authorities: Vec<_> =
            authorities.map(|(file, held)| (file, held, reader.look_at_authority(file, held))).collect();
        {
            let mut ring = self.ring();
            let mut renewed = (Vec::new(), Vec::new());
            for (files, held, look) in pairs {
                // Another revision may have come meanwhile.
                let now = ring.pairs.get_mut(files).filter(|now| Arc::ptr_eq(&now.value, &held.value));
                if now.is_some_and(|now| now.take(look, urgent, &self.metrics)) {
                    tracing::info!(certificate = files.cert, "a certificate was read again");
                    renewed.0.push(files.clone());
                }
            }
            for (file, held, look) in authorities {
                let now = ring.authorities.get_mut(file).filter(|now| Arc::ptr_eq(&now.value, &held.value));
                if now.is_some_and(|now| now.take(look, urgent, &self.metrics)) {
                    tracing::info!(file, "the authority of clients' certificates was read again");
                    renewed.1.push(file.clone());
                }
            }
            ring.renew(&renewed.0, &renewed.1, self);
        }
        self.warn_of_new(&before);
        self.tell();
    }

    /// Looks at all files every other second, and at once when the bell rings. Never ends.
    pub(crate) async fn follow(self: Arc<Self>, mut bell: Signal) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let urgent = tokio::select! {
                _ = tick.tick() => false,
                _ = bell.recv() => true,
            };
            let keyring = Arc::clone(&self);
            // A file system that hangs keeps this thread of its own waiting and no other.
            if let Err(error) = tokio::task::spawn_blocking(move || keyring.look(urgent)).await {
                tracing::error!(%error, "looking at certificates has failed");
            }
        }
    }

    /// What an operator should look at; nothing where no listener speaks TLS.
    pub(crate) fn troubles(&self, now: SystemTime) -> Option<Vec<String>> {
        let ring = self.ring();
        (!ring.listeners.is_empty()).then(|| ring.troubles(seconds(now)))
    }
}

fn warn(pair: &Pair, now: i64) {
    if let Some(why) = ending(pair, now) {
        tracing::warn!("{why}");
    }
    if pair.exposed {
        let key = &pair.files.key;
        tracing::warn!(key, "others on this machine can read a private key: chmod o-r it, and have it replaced");
    }
}

fn no_chance(listener: usize, error: &rustls::Error) -> UnusableFile {
    UnusableFile {
        path: problem::Path::default().field("listeners").item(listener).field("tls"),
        message: format!("keys of tickets cannot be made: {error}"),
        hint: "the system gives no random numbers: it is tried again".to_owned(),
    }
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
