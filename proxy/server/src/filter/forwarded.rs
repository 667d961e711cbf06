//! Who the client is, told to the origin. What the client itself says of it is not believed, so it is replaced: an
//! origin that reads the left-most address would otherwise let anybody choose their own.

use crate::client::Client;
use crate::message::{Known, RequestHead};

/// Sets X-Forwarded-For, -Host and -Proto, and removes the client's own claims.
pub(super) fn set(head: &mut RequestHead, client: &Client) {
    for claim in [Known::XForwardedFor, Known::XForwardedHost, Known::XForwardedProto, Known::XForwardedPort] {
        head.fields.remove(claim);
    }
    head.fields.remove(Known::Forwarded);
    head.fields.remove(Known::XRealIp);
    head.fields.push_known(Known::XForwardedFor, &client.ip);
    head.fields.push_known(Known::XForwardedProto, client.scheme());
    if !head.authority().is_empty() {
        let host = head.authority().to_owned();
        head.fields.push_known(Known::XForwardedHost, host);
    }
}
