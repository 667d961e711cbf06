//! Replies of our own: every failure becomes one, here and nowhere else.

use std::time::SystemTime;

use bytes::Bytes;
use sluice_proxy_core::outcome::Ending;

use crate::message::{Framing, Known, Refused, ResponseHead, reason};
use crate::side::Reply;

/// A whole reply.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) head: ResponseHead,
    pub(crate) body: Bytes,
}

impl Own {
    /// Sends all of it.
    pub(crate) async fn send(self, reply: &mut impl Reply) -> Result<(), Ending> {
        reply.head(&self.head, self.body.is_empty())?;
        reply.data(self.body).await?;
        reply.end(None).await
    }
}

/// The reply to a request that ended like this before an answer began; nothing where there is nobody to answer.
pub(crate) fn failure(ending: Ending, request_id: &[u8; 32]) -> Option<Own> {
    let judged = ending.judge();
    judged.status.map(|status| own(status, judged.reason, request_id))
}

/// The reply to a request that was not understood.
pub(crate) fn refusal(refused: &Refused, request_id: &[u8; 32]) -> Own {
    own(refused.status, refused.reason, request_id)
}

fn own(status: u16, why: &str, request_id: &[u8; 32]) -> Own {
    let id = String::from_utf8_lossy(request_id);
    let body = format!("{status} {}: {why}\nrequest id: {id}\n", reason(status));
    let mut head = ResponseHead::new();
    head.status = status;
    head.framing = Framing::Length(body.len() as u64);
    head.keep_alive = true;
    head.fields.push_known(Known::Date, httpdate::fmt_http_date(SystemTime::now()));
    head.fields.push_known(Known::ContentType, "text/plain; charset=utf-8");
    head.fields.push_known(Known::ContentLength, body.len().to_string());
    head.fields.push("Cache-Control", "no-store");
    if status == 503 {
        head.fields.push_known(Known::RetryAfter, "1");
    }
    head.fields.push_known(Known::XRequestId, request_id);
    Own { head, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_ours_names_the_reason_and_the_request() {
        let own = failure(Ending::NoEndpoint, &[b'a'; 32]).unwrap();
        assert_eq!(own.head.status, 503);
        assert_eq!(own.body, "503 Service Unavailable: no_endpoint\nrequest id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
        assert_eq!(own.head.fields.get(Known::ContentLength), Some(own.body.len().to_string().as_bytes()));
    }

    #[test]
    fn nobody_is_answered_who_has_left() {
        assert!(failure(Ending::ClientGone, &[b'a'; 32]).is_none());
    }
}
