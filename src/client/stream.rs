//! What happens, as it happens: server-sent events.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;

use super::connection::Lost;
use super::failure::Unreachable;
use super::{Answer, Call, Client, Failure};

/// How long a stream may be silent: a living one shows a sign every 15 seconds.
const SILENT: Duration = Duration::from_secs(60);

/// The longest event that is taken.
const MOST: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// What kind.
    pub(crate) event: String,
    /// What about it.
    pub(crate) data: Value,
}

impl Client {
    /// Follows a stream until it ends, or the process is told to leave.
    ///
    /// # Errors
    /// Nobody is reached, it is refused, the stream is lost, or `tell` fails.
    pub(crate) fn follow(&self, call: &Call, tell: impl FnMut(News) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            tokio::select! {
                ended = self.stream(call, tell) => ended,
                _ = tokio::signal::ctrl_c() => Ok(()),
            }
        })
    }

    async fn stream(&self, call: &Call, mut tell: impl FnMut(News) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut unreachable = Unreachable::default();
        for server in &self.servers {
            let begun = match tokio::time::timeout(call.patience, self.begin(server, call)).await {
                Ok(begun) => begun,
                Err(_) => Err(Lost::Broken("no answer".to_owned())),
            };
            match begun {
                Ok(response) if !response.status().is_success() => {
                    let answer = Answer::whole(response).await.map_err(|lost| lost_at(server, lost))?;
                    answer.accepted(self.form)?;
                }
                Ok(response) => {
                    return read(response.into_body(), &mut tell).await.map_err(|end| match end {
                        End::Lost(why) => lost_at(server, Lost::Broken(why)).into(),
                        End::Told(error) => error,
                    });
                }
                Err(Lost::Connect(why) | Lost::Broken(why)) => unreachable.push(server, why),
            }
        }
        Err(Failure::Unreachable(unreachable).into())
    }
}

fn lost_at(server: &super::server::Server, lost: Lost) -> Failure {
    let (Lost::Connect(why) | Lost::Broken(why)) = lost;
    let mut unreachable = Unreachable::default();
    unreachable.push(server, why);
    Failure::Unreachable(unreachable)
}

enum End {
    Lost(String),
    Told(anyhow::Error),
}

async fn read(mut body: hyper::body::Incoming, tell: &mut impl FnMut(News) -> anyhow::Result<()>) -> Result<(), End> {
    let mut lines = Lines::default();
    loop {
        let frame = match tokio::time::timeout(SILENT, body.frame()).await {
            Err(_) => return Err(End::Lost(format!("silent for {}s", SILENT.as_secs()))),
            Ok(None) => return Err(End::Lost("the stream has ended".to_owned())),
            Ok(Some(Err(error))) => return Err(End::Lost(super::connection::words(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        for news in lines.take(frame.data_ref().map_or(&[][..], |data| data)) {
            tell(news).map_err(End::Told)?;
        }
        if lines.rest.len() > MOST {
            return Err(End::Lost(format!("an event of more than {MOST} bytes")));
        }
    }
}

/// What has come and is no whole event yet.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The events that are whole with these bytes. An empty line ends each.
    fn take(&mut self, bytes: &[u8]) -> Vec<News> {
        self.rest.extend_from_slice(bytes);
        let mut all = Vec::new();
        while let Some(at) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..at + 2).collect();
            all.extend(news(&String::from_utf8_lossy(&event)));
        }
        all
    }
}

/// A comment, which only shows that the other end lives, is no news.
fn news(text: &str) -> Option<News> {
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start()));
        values.collect::<Vec<_>>().join("\n")
    };
    let data = serde_json::from_str(&field("data")).ok()?;
    Some(News { event: field("event"), data })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "event: file\ndata: \"refused\"\n\n: alive\n\nevent: node\ndata: {\"node\":\"a\"}\n\nevent: half";
        let expected = [("file", json!("refused")), ("node", json!({ "node": "a" }))];
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let all: Vec<News> = text.as_bytes().chunks(size).flat_map(|chunk| lines.take(chunk)).collect();
            let told: Vec<(&str, Value)> = all.iter().map(|news| (news.event.as_str(), news.data.clone())).collect();
            assert_eq!(told, expected, "in pieces of {size}");
        }
    }
}
