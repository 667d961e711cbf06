//! One probe by a connection, and perhaps a few bytes on it.

use std::io;

use sluice_config::validated::TcpProbe;
use sluice_proxy_core::health::{Cause, Word};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Finding;
use super::asker::told;
use super::http::DRAIN_TIME;
use super::ration::Rationed;
use super::search::Search;

/// How much of an answer is looked through.
const ANSWER_BYTES: usize = 4 << 10;

/// Says what is to be said, and listens for as long as something is wanted: the text, and an agent's line.
pub(super) async fn ask(mut wire: Rationed, probe: &TcpProbe, agent: bool) -> Result<Finding, Cause> {
    let reset = |error: io::Error| told(&error, Cause::Reset);
    if let Some(text) = &probe.send {
        wire.write_all(text.as_bytes()).await.map_err(reset)?;
        wire.flush().await.map_err(reset)?;
    }
    let mut search = Search::new(probe.expect.as_deref(), ANSWER_BYTES);
    let ended = listen(&mut wire, &mut search, agent).await.map_err(reset)?;
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, close(wire)));
    let word = line(search.text(), ended || search.is_full()).filter(|_| agent).and_then(Word::parse);
    let verdict = match search.found() {
        true => Ok(()),
        false if search.text().is_empty() => Err(Cause::Reset),
        false => Err(Cause::Text),
    };
    Ok(Finding { verdict: verdict.into(), word })
}

/// Whether the endpoint has ended the connection.
async fn listen(wire: &mut Rationed, search: &mut Search<'_>, agent: bool) -> io::Result<bool> {
    let mut piece = [0; 1024];
    while !search.is_full() && !(search.found() && (!agent || line(search.text(), false).is_some())) {
        match wire.read(&mut piece).await? {
            0 => return Ok(true),
            length => search.read(&piece[..length]),
        }
    }
    Ok(false)
}

/// The first line, once it has ended.
fn line(text: &[u8], is_whole: bool) -> Option<&[u8]> {
    let end = text.iter().position(|byte| *byte == b'\n').or_else(|| is_whole.then_some(text.len()))?;
    Some(&text[..end])
}

/// Closing on unread bytes would reset the connection and fill the endpoint's log with errors.
async fn close(mut wire: Rationed) -> io::Result<()> {
    wire.shutdown().await?;
    let mut piece = [0; 1024];
    while wire.read(&mut piece).await? > 0 {}
    Ok(())
}
