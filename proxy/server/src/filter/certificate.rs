//! What a client has proven about itself in the handshake, told to the origin. Nobody else may say so: what comes under these
//! names is removed on every listener, those without TLS too.

use crate::client::Client;
use crate::message::{Known, RequestHead};

/// Sets Client-Cert and X-Forwarded-Client-Cert, and removes what the client wrote there.
pub(super) fn set(head: &mut RequestHead, client: &Client) {
    for claim in [Known::ClientCert, Known::ClientCertChain, Known::XForwardedClientCert] {
        head.fields.remove(claim);
    }
    if let Some(identity) = client.tls.as_ref().and_then(|session| session.identity.as_ref()) {
        head.fields.push_known(Known::ClientCert, &*identity.certificate);
        head.fields.push_known(Known::XForwardedClientCert, &*identity.summary);
    }
}
