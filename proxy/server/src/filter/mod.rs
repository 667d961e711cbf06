//! What is done to heads on their way through.

mod certificate;
mod forwarded;

use crate::client::Client;
use crate::message::{Known, RequestHead, ResponseHead, strip_hop_by_hop};

/// Makes a client's head into one that an origin may see.
pub(crate) fn prepare_request(head: &mut RequestHead, client: &Client, request_id: [u8; 32]) {
    strip_hop_by_hop(&mut head.fields, head.upgrade);
    forwarded::set(head, client);
    certificate::set(head, client);
    head.fields.set_known(Known::XRequestId, request_id);
}

/// Makes an origin's head into one that a client may see.
pub(crate) fn prepare_response(head: &mut ResponseHead) {
    strip_hop_by_hop(&mut head.fields, head.upgrade);
}
