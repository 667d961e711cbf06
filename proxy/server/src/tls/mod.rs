//! TLS towards clients: which certificate is shown to whom, how a handshake goes, and how files become both.
//!
//! Everything that can fail is done before a handshake: files are read, keys are compared with their certificates and the
//! names are sorted while a revision is prepared, so that a bad file refuses the revision and never a client.
//! [`Keyring`] holds what was read and looks at the files again; what it makes for one listener is its [`Terms`],
//! which are swapped as a whole: a handshake sees one set of certificates from beginning to end, and connections that
//! are open keep what they have.
//!
//! **Who chooses the certificate.** We, from the client's first message, and then again in the same way when `rustls`
//! asks: it does not say afterwards what it was given, and the host of each request is compared with it
//! ([`Session::misdirects`]).
//!
//! **Resumption** is by tickets only, whose keys all workers share: a session may come back on any of them. Stateful
//! sessions would be one more cache behind a lock. Listeners that ask for certificates of clients have keys by what they ask for:
//! a session carries its client's certificate along, unverified, so that a session of another authority must not be
//! understood here.

mod handshake;
mod identity;
mod keyring;
mod names;
mod pair;
mod stamp;
mod terms;

pub(crate) use handshake::{Protocol, Session, shake};
pub(crate) use keyring::unusable_files;
pub(crate) use keyring::{Keyring, Ring};
pub(crate) use stamp::Stamps;
pub(crate) use terms::Terms;
