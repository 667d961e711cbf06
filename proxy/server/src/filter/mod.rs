//! What is done to heads on their way through.

mod certificate;
mod forwarded;

use crate::client::Client;
use crate::message::{Fields, Known, RequestHead, ResponseHead, Stripped, is_disguised_claim, strip_hop_by_hop};
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
    head.fields.retain(|name, _, known| known != Known::Other || !is_disguised_claim(name));
    forwarded::set(head, client, said);
    certificate::set(head, client);
    head.fields.set_known(Known::XRequestId, id);
    stripped
}

/// Makes a client's trailers into such that an origin may see.
pub(crate) fn prepare_request_trailers(trailers: &mut Fields) {
    trailers.retain(|name, _, known| known != Known::Other || !is_disguised_claim(name));
}

/// Makes an origin's head into one that a client may see.
pub(crate) fn prepare_response(head: &mut ResponseHead) {
    strip_hop_by_hop(&mut head.fields, head.upgrade);
}
