//! Sockets that a service manager has opened: the protocol of `sd_listen_fds(3)`.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

use super::{Inherited, Spare, Spares};

/// What a socket for health and metrics is called.
const STATUS: &str = "status";

/// Takes them, if there are any for this process.
pub(super) fn claim() -> io::Result<Inherited> {
    // Without it they may be another's: the variables are inherited by whoever is started.
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !ours {
        return Ok(Inherited::default());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..given.len() {
        sockets.extend(given.take_tcp_listener(at)?);
    }
    sort(sockets, &names)
}

/// Each with its name; a name may be missing, and several sockets may have one.
fn sort(sockets: Vec<TcpListener>, names: &str) -> io::Result<Inherited> {
    let (mut inherited, mut spares) = (Inherited::default(), Vec::new());
    let mut names = names.split(':');
    for (worker, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        let (address, name) = (socket.local_addr()?, names.next().map(str::to_owned));
        if name.as_deref() == Some(STATUS) {
            inherited.status.push(socket);
        } else {
            spares.push(Spare { name, address, is_activated: true, worker, socket });
        }
    }
    inherited.listeners = Spares(spares);
    Ok(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_in_the_order_of_the_sockets() {
        let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let status = sockets[1].local_addr().unwrap();
        let mut inherited = sort(sockets, "web:status").unwrap();
        let names: Vec<_> = inherited.listeners.0.iter().map(|spare| spare.name.as_deref()).collect();
        assert_eq!(names, [Some("web"), None]);
        assert!(inherited.take_status(status).is_some());
    }
}
