//! What is done to heads on their way through.

mod certificate;
mod forwarded;

use crate::client::Client;
use crate::message::{Known, RequestHead, ResponseHead, Stripped, strip_hop_by_hop};
use crate::request_id::RequestId;
use crate::said::Said;

/// Makes a client's head into one that an origin may see. `said`: by a trusted proxy. What was stripped is for the caller
/// to count.
pub(crate) fn prepare_request(
    head: &mut RequestHead,
    client: &Client,
    said: Option<&Said>,
    id: &RequestId,
) -> Stripped {
    let stripped = strip_hop_by_hop(&mut head.fields, head.upgrade);
    forwarded::set(head, client, said);
    certificate::set(head, client);
    head.fields.set_known(Known::XRequestId, id);
    stripped
}

/// Makes an origin's head into one that a client may see.
pub(crate) fn prepare_response(head: &mut ResponseHead) {
    strip_hop_by_hop(&mut head.fields, head.upgrade);
}
