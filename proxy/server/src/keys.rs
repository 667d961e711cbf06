//! What of a request decides where it goes again: the key of a sticky split, and that of the endpoint. Made only for services
//! that ask for one.

use sluice_config::validated::{Balancer, HashKey, Session, StickyKey};
use sluice_proxy_core::sticky;

use crate::context::Record;
use crate::live::ServiceEntry;
use crate::message::{Known, ResponseHead};
use crate::request_id::RequestId;

/// The keys of one request.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Of the version.
    pub(crate) split: Option<Vec<u8>>,
    /// Of the endpoint.
    pub(crate) endpoint: Option<Vec<u8>>,
    /// The value of Set-Cookie with which a new session begins.
    begins: Option<String>,
}

/// Bytes of a session's key: 128 random bits in hexadecimal digits.
const SESSION_KEY: usize = 32;

impl Keys {
    /// Nothing for a service that looks at none.
    pub(crate) fn of(service: &ServiceEntry, record: &Record<'_>) -> Option<Box<Self>> {
        let sticky = service.core.sticky();
        if sticky.is_none() && service.session.is_none() && !matches!(service.balancer, Balancer::Maglev { .. }) {
            return None;
        }
        let mut keys = Self { split: sticky.and_then(|by| split_key(by, record)), ..Self::default() };
        if let Balancer::Maglev { key, .. } = &service.balancer {
            keys.endpoint = endpoint_key(key, record);
        }
        if let Some(session) = &service.session {
            keys.join(session, record);
        }
        // A user who stays with an endpoint stays with its version.
        if sticky.is_none() && service.session.is_some() {
            keys.split.clone_from(&keys.endpoint);
        }
        Some(Box::new(keys))
    }

    /// The session that the request is of, or a new one.
    fn join(&mut self, session: &Session, record: &Record<'_>) {
        let brought = cookie(record, &session.cookie).filter(|key| is_session_key(key));
        let key = brought.unwrap_or_else(|| {
            let key = RequestId::make(&mut *record.worker.rng.borrow_mut());
            let key = key.as_ref().to_vec();
            self.begins = Some(set_cookie(session, &key, is_secure(record)));
            key
        });
        self.endpoint = Some(key);
    }

    /// Tells the client of its new session.
    pub(crate) fn mark(&self, head: &mut ResponseHead) {
        if let Some(begins) = &self.begins {
            head.fields.push("Set-Cookie", begins);
        }
    }
}

/// What a sticky split holds on to.
fn split_key(by: &StickyKey, record: &Record<'_>) -> Option<Vec<u8>> {
    match by {
        StickyKey::Header(name) => record.head.fields.get_named(name).map(<[u8]>::to_vec),
        StickyKey::Cookie(name) => cookie(record, name),
        StickyKey::ClientAddress => Some(address(record)),
    }
}

/// What an endpoint is hashed by.
fn endpoint_key(by: &HashKey, record: &Record<'_>) -> Option<Vec<u8>> {
    match by {
        HashKey::Header(name) => record.head.fields.get_named(name).map(<[u8]>::to_vec),
        HashKey::Cookie(name) => cookie(record, name),
        HashKey::ClientAddress => Some(address(record)),
        HashKey::Path => Some(record.head.path().as_bytes().to_vec()),
    }
}

fn cookie(record: &Record<'_>, name: &str) -> Option<Vec<u8>> {
    sticky::cookie(record.head.fields.all(Known::Cookie), name).map(<[u8]>::to_vec)
}

fn address(record: &Record<'_>) -> Vec<u8> {
    let (bytes, length) = sticky::address(record.address());
    bytes[..length].to_vec()
}

/// Only what looks like one that we made: any other value that applications or clients put there would lead many to one endpoint.
fn is_session_key(key: &[u8]) -> bool {
    key.len() == SESSION_KEY && key.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the client came by TLS, here or at a proxy that is trusted.
fn is_secure(record: &Record<'_>) -> bool {
    let said = record.said.as_ref().and_then(|said| said.proto.as_deref());
    said.map_or_else(|| record.client.tls.is_some(), |proto| proto.eq_ignore_ascii_case(b"https"))
}

fn set_cookie(session: &Session, key: &[u8], secure: bool) -> String {
    let mut text = format!("{}={}; Path=/; HttpOnly; SameSite=Lax", session.cookie, String::from_utf8_lossy(key));
    if let Some(age) = session.max_age {
        text.push_str(&format!("; Max-Age={}", age.as_secs().max(1)));
    }
    if secure {
        text.push_str("; Secure");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_session_begins_with_a_cookie_that_scripts_do_not_see() {
        let mut session = Session { cookie: "stay".to_owned(), max_age: None };
        assert_eq!(set_cookie(&session, b"0a", false), "stay=0a; Path=/; HttpOnly; SameSite=Lax");
        session.max_age = Some(Duration::from_secs(60));
        assert_eq!(set_cookie(&session, b"0a", true), "stay=0a; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
    }

    #[test]
    fn a_session_key_is_one_that_we_make() {
        let made = RequestId::make(&mut rand::rngs::SmallRng::seed_from_u64(1));
        assert!(is_session_key(made.as_ref()));
        for bad in [&b""[..], b"0123", b"0123456789ABCDEF0123456789ABCDEF", b"0123456789abcdef0123456789abcdeg"] {
            assert!(!is_session_key(bad), "{}", bad.escape_ascii());
        }
    }
}
