//! One probe by a call of `grpc.health.v1.Health/Check`. Both messages have one field, so they are written and read by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use sluice_config::validated::{GrpcProbe, Protocol};
use sluice_proxy_core::grpc::Code;
use sluice_proxy_core::health::Cause;

use super::asker::told;
use super::http::{USER_AGENT, answer_cause, send, uri};
use super::ration::Rationed;
use super::{Finding, Target};

const METHOD: &str = "/grpc.health.v1.Health/Check";
const STATUS: &str = "grpc-status";
/// SERVING of the answer's only field.
const SERVING: u64 = 1;
/// An answer is a message of a few bytes.
const ANSWER_BYTES: usize = 4 << 10;

/// Calls, and judges the answer by the call's status and by what it says of the service.
pub(super) async fn ask(wire: Rationed, to: &Target, probe: &GrpcProbe) -> Result<Finding, Cause> {
    let request = request(to, probe).ok_or(Cause::Malformed)?;
    let (answer, connection) = send(wire, Protocol::Http2, request).await?;
    let (head, body) = answer.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Cause::Status(head.status.as_u16()));
    }
    let answered = match status(&head.headers) {
        Some(code) => (code, Bytes::new()),
        None => read(body).await?,
    };
    drop(connection);
    match answered {
        (Code::Ok, message) if serving(&message).ok_or(Cause::Malformed)? => Ok(Finding::good()),
        (Code::Ok, _) => Err(Cause::NotServing),
        (code, _) => Err(Cause::Grpc(code)),
    }
}

fn request(to: &Target, probe: &GrpcProbe) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(message(probe.service.as_deref().unwrap_or_default())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(to, None, METHOD)?;
    let fields = request.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(header::TE, HeaderValue::from_static("trailers"));
    fields.insert(header::USER_AGENT, USER_AGENT);
    let millis = to.check.timeout.as_millis();
    // At most eight digits.
    let timeout = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1_000) };
    fields.insert("grpc-timeout", timeout.try_into().ok()?);
    Some(request)
}

fn status(fields: &HeaderMap) -> Option<Code> {
    fields.get(STATUS).map(|value| Code::parse(value.as_bytes()))
}

/// The call's status, and what came before it.
async fn read(mut body: Incoming) -> Result<(Code, Bytes), Cause> {
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| told(&error, answer_cause(&error)))?;
        if let Some(code) = frame.trailers_ref().and_then(status) {
            return Ok((code, message.freeze()));
        }
        message.put_slice(frame.data_ref().map_or(&[], |data| data));
        if message.len() > ANSWER_BYTES {
            break;
        }
    }
    Err(told(&"the answer is no call's", Cause::Malformed))
}

/// `HealthCheckRequest { string service = 1; }`, not compressed, behind its length.
fn message(service: &str) -> Bytes {
    let mut field = BytesMut::new();
    if !service.is_empty() {
        field.put_u8(0x0a);
        put_varint(&mut field, service.len());
        field.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::with_capacity(5 + field.len());
    message.put_u8(0);
    message.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
    message.put_slice(&field);
    message.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        into.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

/// Whether a message says SERVING; nothing for what is no `HealthCheckResponse { ServingStatus status = 1; }`, or is
/// compressed, for which nobody has asked.
fn serving(message: &[u8]) -> Option<bool> {
    let (head, mut fields) = message.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(length).ok()? != fields.len() {
        return None;
    }
    let mut status = 0;
    while !fields.is_empty() {
        let tag = varint(&mut fields)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut fields)?,
            (_, 0) => drop(varint(&mut fields)?),
            (_, 1) => fields = fields.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut fields)?).ok()?;
                fields = fields.get(length..)?;
            }
            (_, 5) => fields = fields.get(4..)?,
            _ => return None,
        }
    }
    Some(status == SERVING)
}

/// Takes a number of at most ten bytes from the front.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_those_of_the_health_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(message(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
        for (answer, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(true)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(false)),
            (&[0, 0, 0, 0, 0], Some(false)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 8, 1, 8, 1], Some(true)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 0x12, 9], None),
            (&[0, 0, 0, 0, 1, 0x80], None),
            (&[0, 0, 0], None),
        ] {
            assert_eq!(serving(answer), expected, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(fields in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut message = vec![0, 0, 0, 0, fields.len() as u8];
            message.extend(fields);
            let _ = serving(&message);
        }
    }
}
