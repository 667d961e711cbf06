//! The accept loop of one worker and one listener.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::connection;
use crate::listener::{Admission, Port};
use crate::worker::Worker;

/// How long accepting rests when the process is out of descriptors or memory; connections wait in the kernel meanwhile.
const REST: Duration = Duration::from_millis(50);

/// Accepts until `stop`, and then what already waits in the kernel: closing a socket resets what is in its queue.
pub(crate) async fn accept(worker: Rc<Worker>, port: Rc<Port>, listener: TcpListener, stop: Rc<Notify>) {
    let mut stopped = std::pin::pin!(stop.notified());
    loop {
        let next = async {
            port.gate.room().await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = next => match accepted {
                Ok((stream, address)) => serve(&worker, &port, stream, address, port.gate.enter()),
                Err(error) => rest(&port, &error).await,
            },
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

async fn rest(port: &Port, error: &io::Error) {
    let passing = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !passing {
        if port.may_complain() {
            tracing::warn!(listener = %port.gate.id.name, %error, "cannot accept, trying again; told every 10 s at most");
        }
        tokio::time::sleep(REST).await;
    }
}

fn serve(worker: &Rc<Worker>, port: &Rc<Port>, stream: TcpStream, address: SocketAddr, admission: Admission) {
    let (worker, port) = (Rc::clone(worker), Rc::clone(port));
    tokio::task::spawn_local(async move {
        let _open = port.gate.series.accepted();
        let _seat = port.seat().await;
        connection::serve(worker, Rc::clone(&port), stream, address).await;
        drop(admission);
    });
}
