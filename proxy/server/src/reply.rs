//! Replies of our own: every failure becomes one, here and nowhere else.

use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use sluice_proxy_core::outcome::Ending;

use crate::message::{Framing, Known, ResponseHead, reason};
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
        reply.head(&self.head, false)?;
        reply.data(self.body).await?;
        reply.end(None).await
    }
}

/// The reply to a request that ended like this before an answer began; nothing where there is nobody to answer.
pub(crate) fn failure(ending: Ending, request_id: &str) -> Option<Own> {
    let judged = ending.judge();
    judged.status.map(|status| own(status, judged.reason, Some(request_id)))
}

/// The reply to a request that was not understood.
pub(crate) fn refusal(status: u16, refused: &str) -> Own {
    own(status, refused, None)
}

fn own(status: u16, why: &str, request_id: Option<&str>) -> Own {
    let mut body = format!("{status} {}: {why}\n", reason(status));
    if let Some(id) = request_id {
        // Writing to a string does not fail.
        let _ = writeln!(body, "request id: {id}");
    }
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
    if let Some(id) = request_id {
        head.fields.push_known(Known::XRequestId, id);
    }
    Own { head, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_ours_names_the_reason_and_the_request() {
        let own = failure(Ending::NoEndpoint, "abc").unwrap();
        assert_eq!(own.head.status, 503);
        assert_eq!(own.body, "503 Service Unavailable: no_endpoint\nrequest id: abc\n");
        assert_eq!(own.head.fields.get(Known::ContentLength), Some(own.body.len().to_string().as_bytes()));
    }

    #[test]
    fn nobody_is_answered_who_has_left() {
        assert!(failure(Ending::ClientGone, "abc").is_none());
    }
}
