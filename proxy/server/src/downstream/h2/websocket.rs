//! WebSocket over HTTP/2 (RFC 8441). An extended CONNECT becomes the head that a client of HTTP/1.1 would send, and the
//! answer goes back without what only HTTP/1.1 has: the exchange in between knows one way to open a tunnel.
//!
//! HTTP/2 has no `Sec-WebSocket-Key`, so towards the origin we are the WebSocket client: the key is ours, and so is the
//! duty to check that the origin has understood it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use sha1::{Digest, Sha1};
use sluice_proxy_core::outcome::Ending;

use crate::message::{Fields, Known, RequestHead, ResponseHead};

/// The protocol that extended CONNECT may ask for.
pub(super) const PROTOCOL: &str = "websocket";
const KEY: &str = "sec-websocket-key";
/// A field that only the handshake of HTTP/1.1 has.
pub(super) const ACCEPT: &str = "sec-websocket-accept";
/// What a server of WebSocket proves its understanding with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that the origin has yet to answer.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
}

impl Handshake {
    /// Makes an extended CONNECT into an upgrade.
    pub(super) fn begin(head: &mut RequestHead, rng: &mut impl Rng) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let key = STANDARD.encode(nonce);
        head.fields.remove_named(KEY.as_bytes());
        head.fields.push_known(Known::Upgrade, PROTOCOL);
        head.fields.push(KEY, &key);
        Self { accept: accept(key.as_bytes()) }
    }

    /// The status of the answer. A tunnel is open with 200; an origin that answers with another success has not opened
    /// one, and its answer must not look as if it had.
    pub(super) fn status(&self, head: &ResponseHead) -> Result<u16, Ending> {
        match head.status {
            101 if self.is_accepted(&head.fields) => Ok(200),
            101 | 200..=299 => Err(Ending::BadHead),
            other => Ok(other),
        }
    }

    fn is_accepted(&self, fields: &Fields) -> bool {
        let upgrade = fields.get(Known::Upgrade).unwrap_or_default();
        upgrade.eq_ignore_ascii_case(PROTOCOL.as_bytes()) && fields.get_named(ACCEPT) == Some(self.accept.as_bytes())
    }
}

fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn answer(status: u16, accept: &str, upgrade: &str) -> ResponseHead {
        let mut head = ResponseHead::new();
        head.status = status;
        head.fields.push("Sec-WebSocket-Accept", accept);
        head.fields.push("Upgrade", upgrade);
        head
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_an_answer_to_our_key_opens_the_tunnel() {
        let mut head = RequestHead::new();
        head.fields.push("sec-websocket-key", "the client's own");
        let handshake = Handshake::begin(&mut head, &mut SmallRng::seed_from_u64(1));
        let keys: Vec<_> = head.fields.iter().filter(|(name, ..)| *name == KEY.as_bytes()).collect();
        assert_eq!((keys.len(), keys[0].1.len()), (1, 24));
        let proof = accept(keys[0].1);
        assert_eq!(handshake.status(&answer(101, &proof, "WebSocket")), Ok(200));
        assert_eq!(handshake.status(&answer(101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "websocket")), Err(Ending::BadHead));
        assert_eq!(handshake.status(&answer(101, &proof, "h2c")), Err(Ending::BadHead));
        assert_eq!(handshake.status(&answer(200, &proof, "websocket")), Err(Ending::BadHead));
        assert_eq!(handshake.status(&answer(403, "", "")), Ok(403));
        assert_eq!(handshake.status(&answer(302, "", "")), Ok(302));
    }
}
