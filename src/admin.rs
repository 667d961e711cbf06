//! Where a control plane serves its API, and who may use it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use sluice_control::{Access, Address, Clock, Options, Tls};
use sluice_control_core::access::{Listen, listen_policy};

use crate::client::ADMIN;
use crate::data::SOCKET;
use crate::document::environment;

/// Where the API is served, and who may use it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Admin API")]
pub(crate) struct AdminArgs {
    /// Where the API is served: an IP address and a port, or unix:PATH; several times for several [default: 127.0.0.1:9900,
    /// and admin.sock in the data folder]
    #[arg(long, value_name = "ADDRESS")]
    admin: Vec<Address>,
    /// The file of tokens, a line NAME ROLE TOKEN for each, as `sluice token` makes them; needed where other machines reach
    /// the API. Read again when it changes
    #[arg(long, value_name = "FILE")]
    admin_tokens: Option<PathBuf>,
    /// The certificate that the API shows, PEM, with its chain; needed where other machines reach it. Read again when it
    /// changes
    #[arg(long, value_name = "FILE", requires = "admin_key")]
    admin_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "admin_cert")]
    admin_key: Option<PathBuf>,
    /// The CA that signs the certificates of clients, PEM: one that it signed is asked of each client
    #[arg(long, value_name = "FILE", requires = "admin_cert")]
    admin_client_ca: Option<PathBuf>,
    /// A further name that clients may call the control plane by; several times for several
    #[arg(long, value_name = "NAME")]
    admin_host: Vec<String>,
    /// The origin of web pages that may use the API, such as https://ops.example.com; several times for several
    #[arg(long, value_name = "ORIGIN")]
    admin_origin: Vec<String>,
}

impl AdminArgs {
    /// At a socket in this folder and nowhere else.
    pub(crate) fn near(folder: &Path) -> Self {
        Self { admin: vec![Address::Unix(folder.join(SOCKET))], ..Self::default() }
    }

    /// What an address that others reach lacks, if any does.
    pub(crate) fn exposed(&self) -> Option<String> {
        let (has_tokens, has_tls) = (self.admin_tokens.is_some(), self.admin_cert.is_some());
        let listens = self.admin.iter().map(|address| match address {
            Address::Tcp(address) => Listen::Tcp(*address),
            Address::Unix(_) => Listen::Socket,
        });
        let lacks = listens.filter_map(|listen| listen_policy(listen, has_tokens, has_tls).err());
        let words = lacks.map(|exposed| format!("{exposed} (--admin-tokens, --admin-cert, --admin-key)"));
        words.into_iter().next()
    }

    /// How the control plane over this folder is set up.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn options(&self, folder: PathBuf, file: Option<PathBuf>) -> anyhow::Result<Options> {
        Ok(Options {
            admin: self.addresses(&folder),
            sockets: Vec::new(),
            folder,
            file,
            environment: environment(),
            tls: self.tls()?,
            access: self.access()?,
            stands: None,
            clock: Clock::system(),
        })
    }

    fn addresses(&self, folder: &Path) -> Vec<Address> {
        if self.admin.is_empty() {
            return vec![Address::Tcp(ADMIN), Address::Unix(folder.join(SOCKET))];
        }
        self.admin.clone()
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.admin_cert, &self.admin_key) else { return Ok(None) };
        let tls = Tls::open(certificate, key, self.admin_client_ca.as_deref());
        tls.map(Some).context("cannot use the certificate of the API")
    }

    fn access(&self) -> anyhow::Result<Access> {
        let (hosts, origins) = (self.admin_host.clone(), self.admin_origin.clone());
        let access = Access::open(self.admin_tokens.as_deref(), hosts, origins);
        access.with_context(|| {
            let file = self.admin_tokens.as_deref().unwrap_or_else(|| Path::new("")).display();
            format!("cannot use the tokens in {file}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[&str]) -> AdminArgs {
        AdminArgs { admin: addresses.iter().map(|text| text.parse().unwrap()).collect(), ..AdminArgs::default() }
    }

    #[test]
    fn the_api_is_near_unless_it_is_said() {
        let folder = Path::new("/data");
        let told =
            |args: AdminArgs| -> Vec<String> { args.addresses(folder).iter().map(ToString::to_string).collect() };
        assert_eq!(told(at(&[])), ["127.0.0.1:9900", "unix:/data/admin.sock"]);
        assert_eq!(told(at(&["[::1]:1"])), ["[::1]:1"]);
        assert_eq!(at(&[]).exposed(), None);
    }

    #[test]
    fn an_address_that_others_reach_needs_tokens_and_tls() {
        let words = at(&["unix:/run/a", "0.0.0.0:9900"]).exposed().unwrap();
        assert!(words.contains("0.0.0.0:9900") && words.contains("--admin-tokens"), "{words}");
        let tokens = AdminArgs { admin_tokens: Some("tokens".into()), ..at(&["0.0.0.0:9900"]) };
        assert!(tokens.exposed().unwrap().contains("TLS"));
        assert_eq!(AdminArgs { admin_cert: Some("cert".into()), ..tokens }.exposed(), None);
    }
}
