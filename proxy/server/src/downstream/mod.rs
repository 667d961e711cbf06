//! The client's side: HTTP/1.1 by our codec, HTTP/2 by the `h2` crate. Both end in the same exchange.

pub(crate) mod h1;
pub(crate) mod h2;
