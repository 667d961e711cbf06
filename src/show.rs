//! What commands that only look have in common: one answer, as a table or as it was told.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::cli::{Exit, Output, OutputArg};
use crate::client::{Answer, Call, Client, ServerArgs};
use crate::terminal::{Color, Paint, print};
use crate::value::render;

/// In which form, and from whom.
#[derive(Debug, clap::Args)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl LookArgs {
    /// A way to the control plane.
    ///
    /// # Errors
    /// As of [`ServerArgs::client`].
    pub(crate) fn client(&self, color: Color) -> anyhow::Result<Client> {
        self.server.client(self.output.output, color)
    }
}

/// Asks, and prints the answer: for people by `lines`, for machines as it was told.
///
/// # Errors
/// Nobody is reached, it is refused, or nobody reads it.
pub(crate) fn show<T: DeserializeOwned + JsonSchema>(
    client: &Client,
    call: &Call,
    lines: impl FnOnce(&T, Paint) -> Vec<String>,
) -> anyhow::Result<Exit> {
    tell(client, &client.call(call)?, lines)
}

/// Prints an answer: for people by `lines`, for machines as it was told.
///
/// # Errors
/// It is not understood, or nobody reads it.
pub(crate) fn tell<T: DeserializeOwned + JsonSchema>(
    client: &Client,
    answer: &Answer,
    lines: impl FnOnce(&T, Paint) -> Vec<String>,
) -> anyhow::Result<Exit> {
    match client.form {
        Output::Table => print(lines(&answer.read()?, client.color.stdout()))?,
        form @ (Output::Json | Output::Yaml) => print([render(&answer.value()?, form)?])?,
    }
    Ok(Exit::Done)
}
