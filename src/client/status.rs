//! The commands' way to a proxy: its status listener, which needs no token and changes nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use super::connection::{self, Lost};
use super::failure::Failure;
use super::server::{Place, Server};

/// The address of a proxy's status listener, unless another is given.
pub(crate) const STATUS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// For a whole answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is taken.
const MOST: usize = 64 << 20;

/// A proxy's status listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusListener(pub(crate) SocketAddr);

impl StatusListener {
    /// What it tells at this path.
    ///
    /// # Errors
    /// Nobody answers, or it says why it does not tell.
    pub(crate) fn get(self, path: &str) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.ask(path)).await });
        let silent = |why: String| Failure::Silent { address: self.0, why };
        let (status, content) = match asked {
            Ok(answered) => answered.map_err(|lost| match lost {
                Lost::Connect(why) | Lost::Broken(why) => silent(why),
            })?,
            Err(_) => return Err(silent(format!("no whole answer within {}s", PATIENCE.as_secs())).into()),
        };
        let told: Option<Value> = serde_json::from_slice(&content).ok();
        let error = told.as_ref().and_then(|told| told["error"].as_str()).map(ToOwned::to_owned);
        match (told, error) {
            (Some(told), _) if status.is_success() => Ok(told),
            (_, Some(error)) => Err(anyhow::Error::msg(error)),
            (_, None) => Err(silent(format!("what answers is no status listener: {status}")).into()),
        }
    }

    async fn ask(self, path: &str) -> Result<(StatusCode, Bytes), Lost> {
        let place = Place { host: self.0.ip().to_string(), port: self.0.port() };
        let mut sender = connection::open(&Server::Plain(place), None).await?;
        let request = Request::get(path).header(HOST, self.0.to_string()).body(Full::default());
        let request = request.map_err(|error| Lost::Broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| Lost::Broken(connection::words(&error)))?;
        let (head, body) = response.into_parts();
        let content = Limited::new(body, MOST).collect().await.map_err(|error| Lost::Broken(error.to_string()))?;
        Ok((head.status, content.to_bytes()))
    }
}
