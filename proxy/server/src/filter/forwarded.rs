//! Who the client is, told to the origin. What somebody who is not trusted says of it is not believed, so it is replaced: an
//! origin that reads the left-most address would otherwise let anybody choose their own. What trusted proxies say is kept,
//! and the proxy that connected is added to it.

use sluice_config::validated::Forwarded;

use crate::client::Client;
use crate::message::{Known, RequestHead};
use crate::said::{Said, write_element};

/// Sets what the listener tells by, and X-Real-IP; removes the other fields. `said`: by a trusted proxy.
pub(super) fn set(head: &mut RequestHead, client: &Client, said: Option<&Said>) {
    let told = client.forwarded();
    let own = (told != Forwarded::XForwarded).then(|| own_element(head, client, said));
    head.fields.remove(Known::Forwarded);
    if told == Forwarded::Rfc7239 {
        remove_claims(head);
    } else if let Some(said) = said {
        keep(head, client, said);
    } else {
        remove_claims(head);
        head.fields.push_known(Known::XForwardedFor, &client.ip);
        head.fields.push_known(Known::XForwardedProto, client.scheme());
        head.fields.push_known(Known::XForwardedPort, client.entrance.as_bytes());
        push_host(head);
    }
    if let Some(own) = own {
        head.fields.push_known(Known::Forwarded, own);
    }
    head.fields.set_known(Known::XRealIp, said.map_or(&client.ip, |said| &said.ip));
}

fn remove_claims(head: &mut RequestHead) {
    for claim in [Known::XForwardedFor, Known::XForwardedHost, Known::XForwardedProto, Known::XForwardedPort] {
        head.fields.remove(claim);
    }
}

fn push_host(head: &mut RequestHead) {
    if !head.authority().is_empty() {
        let host = head.authority().to_owned();
        head.fields.push_known(Known::XForwardedHost, host);
    }
}

/// What the proxy says is kept, and what it leaves out is said by us.
fn keep(head: &mut RequestHead, client: &Client, said: &Said) {
    head.fields.set_known(Known::XForwardedFor, &said.list);
    if !head.fields.has(Known::XForwardedProto) {
        let proto = said.proto.as_deref().unwrap_or_else(|| client.scheme().as_bytes());
        head.fields.push_known(Known::XForwardedProto, proto);
    }
    if !head.fields.has(Known::XForwardedPort) {
        head.fields.push_known(Known::XForwardedPort, client.entrance.as_bytes());
    }
    match &said.host {
        _ if head.fields.has(Known::XForwardedHost) => {}
        Some(host) => head.fields.push_known(Known::XForwardedHost, host),
        None => push_host(head),
    }
}

/// What trusted proxies say, and behind it whom we were connected by.
fn own_element(head: &RequestHead, client: &Client, said: Option<&Said>) -> Vec<u8> {
    let mut out = said.map_or_else(Vec::new, |said| said.forwarded.clone());
    let by_peer = said.filter(|said| said.is_peer);
    let host = by_peer.and_then(|said| said.host.as_deref()).unwrap_or_else(|| head.authority().as_bytes());
    let proto = by_peer.and_then(|said| said.proto.as_deref()).unwrap_or_else(|| client.scheme().as_bytes());
    write_element(&mut out, Some(client.address.ip().to_canonical()), Some(host), Some(proto));
    out
}

#[cfg(test)]
mod tests;
