//! Bodies in HTTP/1.1 framing, the same for both sides.

use std::io;

use bytes::Bytes;

use crate::h1::{self, BodyReader};
use crate::message::{Fields, Framing};
use crate::socket::{Io, Writer};

/// What is read at once of a body whose length nobody told.
const UNKNOWN_READ: u64 = 16 * 1024;

/// Sends a piece of a body.
pub(crate) async fn send<S: Io>(writer: &mut Writer<S>, framing: Framing, data: Bytes) -> io::Result<()> {
    if framing != Framing::Chunked {
        return writer.send(data).await;
    }
    if data.is_empty() {
        return Ok(());
    }
    h1::write_chunk_head(&mut writer.waiting, data.len());
    writer.send(data).await?;
    writer.waiting.extend_from_slice(h1::CHUNK_END);
    Ok(())
}

/// Ends a body; one that only the end of the connection ends shuts it.
pub(crate) async fn finish<S: Io>(
    writer: &mut Writer<S>,
    framing: Framing,
    trailers: Option<&Fields>,
) -> io::Result<()> {
    match framing {
        Framing::Chunked => match trailers {
            Some(trailers) => h1::write_trailers(&mut writer.waiting, trailers),
            None => h1::write_last_chunk(&mut writer.waiting),
        },
        Framing::UntilClose => return writer.shut().await,
        Framing::None | Framing::Length(_) => {}
    }
    writer.flush().await
}

/// How much to read at once: what is known to come, else a good piece.
pub(crate) fn expected(body: &BodyReader) -> usize {
    usize::try_from(body.wants().unwrap_or(UNKNOWN_READ)).unwrap_or(usize::MAX)
}
