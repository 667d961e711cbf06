//! The commands' way to a control plane: where it is, who asks, one request and its answer, each with a deadline.

mod answer;
mod call;
mod connection;
mod failure;
mod server;
mod status;
mod stream;
mod token;

use std::time::Duration;

use clap::Args;
use sluice_config::overlay::Author;
use tokio::runtime::Runtime;

use crate::cli::Output;
use crate::terminal::Color;

pub(crate) use answer::{Answer, understand};
pub(crate) use call::Call;
pub(crate) use failure::Failure;
pub(crate) use server::ADMIN;
pub(crate) use status::{STATUS, StatusListener};
pub(crate) use stream::News;

use connection::Lost;
use failure::Unreachable;
use server::Server;
use token::Token;

/// How the control plane is found and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The control plane: https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH [default: the socket in the data folder if it
    /// answers, else http://127.0.0.1:9900]
    #[arg(long, value_name = "URL", env = "SLUICE_SERVER", hide_env_values = true)]
    server: Option<Server>,
    /// The file with the token to show; only its owner may be able to read it
    #[arg(long, value_name = "FILE", env = "SLUICE_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<std::path::PathBuf>,
    /// The certificates, PEM, that may have signed the server's [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
}

impl ServerArgs {
    /// A way to the control plane. Nothing is sent yet.
    ///
    /// # Errors
    /// The token file cannot be read, or others may read it.
    pub(crate) fn client(&self, form: Output, color: Color) -> anyhow::Result<Client> {
        Ok(Client {
            servers: self.server.clone().map_or_else(server::candidates, |server| vec![server]),
            token: self.token_file.as_deref().map(Token::read).transpose()?,
            ca: self.ca.clone(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            form,
            color,
        })
    }
}

/// A way to a control plane.
pub(crate) struct Client {
    servers: Vec<Server>,
    token: Option<Token>,
    ca: Option<std::path::PathBuf>,
    runtime: Runtime,
    /// In which form results and refusals are told.
    pub(crate) form: Output,
    /// When to colour.
    pub(crate) color: Color,
}

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(5);

impl Client {
    /// Asks, and waits for the whole answer. What may be asked twice is asked again, once, if the answer is lost.
    ///
    /// # Errors
    /// Nobody is reached, or it is refused.
    pub(crate) fn call(&self, call: &Call) -> Result<Answer, Failure> {
        self.runtime.block_on(async {
            match self.attempt(call).await {
                Err(Attempt::Lost(_)) if call.is_repeatable() => self.attempt(call).await,
                result => result,
            }
            .map_err(Attempt::into_failure)?
            .accepted(self.form)
        })
    }

    async fn attempt(&self, call: &Call) -> Result<Answer, Attempt> {
        let mut unreachable = Unreachable::default();
        for server in &self.servers {
            let lost = match tokio::time::timeout(call.patience, self.ask(server, call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Lost::Connect(why))) => {
                    unreachable.push(server, why);
                    continue;
                }
                Ok(Err(Lost::Broken(why))) => why,
                Err(_) => format!("no whole answer within {}", sluice_config::duration::write(call.patience)),
            };
            unreachable.push(server, lost);
            return Err(Attempt::Lost(unreachable));
        }
        Err(Attempt::Nobody(unreachable))
    }

    async fn ask(&self, server: &Server, call: &Call) -> Result<Answer, Lost> {
        Answer::whole(self.begin(server, call).await?).await
    }

    /// The beginning of an answer.
    async fn begin(&self, server: &Server, call: &Call) -> Result<http::Response<hyper::body::Incoming>, Lost> {
        let connecting = connection::open(server, self.ca.as_deref());
        let mut sender = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(opened) => opened?,
            Err(_) => return Err(Lost::Connect(format!("no connection within {}s", CONNECT.as_secs()))),
        };
        let request = call.request(server, self.token.as_ref(), self.author().as_ref());
        sender.send_request(request).await.map_err(|error| Lost::Broken(connection::words(&error)))
    }

    /// Who asks, where no token says it.
    fn author(&self) -> Option<Author> {
        let name = ["USER", "LOGNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
        name.filter(|_| self.token.is_none()).and_then(|name| name.parse().ok())
    }
}

/// How an attempt failed.
enum Attempt {
    /// No server was connected to: nothing was asked.
    Nobody(Unreachable),
    /// It was asked, and the answer did not come.
    Lost(Unreachable),
}

impl Attempt {
    fn into_failure(self) -> Failure {
        match self {
            Self::Nobody(unreachable) | Self::Lost(unreachable) => Failure::Unreachable(unreachable),
        }
    }
}
