//! The accept loop of one worker and one listener.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::connection;
use crate::listener::{Admission, Port};
use crate::overload::Want;
use crate::worker::Worker;

/// How long accepting rests when the process is out of descriptors or memory; connections wait in the kernel meanwhile.
const REST: Duration = Duration::from_millis(50);

/// What a client is told that has as many connections as it may have.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    429 Too Many Requests: connections_per_address\n";

/// Accepts until `stop`, and then what already waits in the kernel: closing a socket resets what is in its queue.
pub(crate) async fn accept(worker: Rc<Worker>, port: Rc<Port>, listener: TcpListener, stop: Rc<Notify>) {
    let mut stopped = std::pin::pin!(stop.notified());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let stops = tokio::select! {
                    biased;
                    () = &mut stopped => true,
                    () = port.gate.room() => false,
                };
                serve(&worker, &port, stream, address, port.gate.enter());
                if stops {
                    break;
                }
            }
            Err(error) => rest(&worker, &port, &error).await,
        }
    }
    if let Ok(listener) = listener.into_std() {
        while let Some((stream, address)) = accept_waiting(&listener) {
            serve(&worker, &port, stream, address, port.gate.enter());
        }
    }
}

/// A connection that waits in the kernel. Asked of the system itself: the runtime may not have heard of it yet.
fn accept_waiting(listener: &std::net::TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    Some((TcpStream::from_std(stream).ok()?, address))
}

/// When there is no descriptor left, idle connections have some.
async fn rest(worker: &Worker, port: &Port, error: &io::Error) {
    let passing = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !passing {
        if port.may_complain() {
            tracing::warn!(listener = %port.gate.id.name, %error, "cannot accept, trying again; told every 10 s at most");
        }
        worker.overload.ask(Want::Files);
        tokio::time::sleep(REST).await;
    }
}

fn serve(worker: &Rc<Worker>, port: &Rc<Port>, stream: TcpStream, address: SocketAddr, admission: Admission) {
    let (worker, port) = (Rc::clone(worker), Rc::clone(port));
    tokio::task::spawn_local(async move {
        let _open = port.gate.series.accepted();
        let seat = Rc::new(port.seat().await);
        connection::serve(worker, seat, stream, address).await;
        drop(admission);
    });
}

/// Closes a connection of a client that has as many as it may have. It is told why, if that takes no waiting and no
/// handshake.
pub(crate) fn turn_away(worker: &Worker, port: &Port, stream: &TcpStream, address: SocketAddr) {
    worker.overload.shed("address", 1);
    if port.may_complain() {
        let client = address.ip().to_canonical();
        tracing::warn!(listener = %port.gate.id.name, %client, "limits.connections_per_address is reached: closed; told every 10 s at most");
    }
    if port.gate.tls().is_some() {
        return;
    }
    // What has come already is read: closing with unread bytes resets the connection, and could take the reply with it.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(TOO_MANY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_to_one_connection_too_many_is_whole() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.lines().skip(1).all(|line| line.contains(": ")), "{head}");
    }
}
