//! Replies of our own: every failure becomes one, here and nowhere else.

mod form;

use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use sluice_proxy_core::outcome::Ending;

use crate::message::{Fields, Framing, Known, Refused, ResponseHead, reason};
use crate::request_id::RequestId;
use crate::side::Reply;
use form::Form;

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

/// The reply to a request that ended like this before an answer began, in the form that its fields ask for; nothing where
/// there is nobody to answer.
pub(crate) fn failure(ending: Ending, id: &RequestId, asked: &Fields) -> Option<Own> {
    let judged = ending.judge();
    let status = judged.status?;
    let mut own = match Form::of(asked) {
        Form::Text => text(status, judged.reason, id),
        Form::Json => json(status, judged.reason, ending.words(), id),
    };
    own.head.fields.push_known(Known::Vary, "Accept");
    Some(own)
}

/// The reply to a request that was not understood: nothing that it asks for is believed.
pub(crate) fn refusal(refused: &Refused, id: &RequestId) -> Own {
    text(refused.status, refused.reason, id)
}

fn text(status: u16, why: &str, id: &RequestId) -> Own {
    let told = String::from_utf8_lossy(id.as_ref());
    let body = format!("{status} {}: {why}\nrequest id: {told}\n", reason(status));
    own(status, id, "text/plain; charset=utf-8", body)
}

fn json(status: u16, why: &str, message: &str, id: &RequestId) -> Own {
    let error = Error { status, reason: why, message, request_id: &String::from_utf8_lossy(id.as_ref()) };
    let body = serde_json::to_string(&Told { error }).expect("text and numbers are JSON always");
    own(status, id, "application/json", body + "\n")
}

/// A reply as JSON.
#[derive(Serialize)]
struct Told<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    status: u16,
    reason: &'a str,
    message: &'a str,
    request_id: &'a str,
}

fn own(status: u16, id: &RequestId, form: &str, body: String) -> Own {
    let mut head = ResponseHead::new();
    head.status = status;
    head.framing = Framing::Length(body.len() as u64);
    head.keep_alive = true;
    head.fields.push_known(Known::Date, httpdate::fmt_http_date(SystemTime::now()));
    head.fields.push_known(Known::ContentType, form);
    head.fields.push_known(Known::ContentLength, body.len().to_string());
    head.fields.push("Cache-Control", "no-store");
    if status == 503 {
        head.fields.push_known(Known::RetryAfter, "1");
    }
    head.fields.push_known(Known::XRequestId, id);
    Own { head, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId::Made([b'a'; 32]);

    fn accepting(form: &str) -> Fields {
        let mut fields = Fields::new();
        fields.push_known(Known::Accept, form);
        fields
    }

    #[test]
    fn a_reply_of_ours_names_the_reason_and_the_request() {
        let own = failure(Ending::NoEndpoint, &ID, &Fields::new()).unwrap();
        assert_eq!(own.head.status, 503);
        assert_eq!(own.body, "503 Service Unavailable: no_endpoint\nrequest id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
        assert_eq!(own.head.fields.get(Known::ContentLength), Some(own.body.len().to_string().as_bytes()));
        assert_eq!(own.head.fields.get(Known::ContentType), Some(&b"text/plain; charset=utf-8"[..]));
        assert_eq!(own.head.fields.get(Known::Vary), Some(&b"Accept"[..]));
        assert!(!own.head.fields.has(Known::Server));
    }

    #[test]
    fn a_program_is_told_in_json() {
        let own = failure(Ending::NoRoute, &ID, &accepting("application/json")).unwrap();
        let expected = concat!(
            r#"{"error":{"status":404,"reason":"no_route","message":"no route matches the request","#,
            r#""request_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}"#,
            "\n"
        );
        assert_eq!(own.body, expected);
        assert_eq!(own.head.fields.get(Known::ContentType), Some(&b"application/json"[..]));
        assert_eq!(own.head.framing, Framing::Length(expected.len() as u64));
    }

    #[test]
    fn nobody_is_answered_who_has_left() {
        assert!(failure(Ending::ClientGone, &ID, &Fields::new()).is_none());
    }
}
