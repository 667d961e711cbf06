//! One thread that serves: its runtime, its listeners' sockets and what the process tells it.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_config::validated::Limits;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use crate::accept;
use crate::listener::{Gate, ListenerId, Port};
use crate::live::Live;
use crate::overload::Want;
use crate::worker::{Equipment, Worker};

/// How often connections that have waited too long are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// What the process tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this revision from now on.
    Run(Arc<Live>, oneshot::Sender<()>),
    /// Accept on this socket.
    Open(Arc<Gate>, Limits, TcpListener),
    /// What the clients of this listener may use up has changed.
    Limit(ListenerId, Limits),
    /// Accept no more on this listener and let its connections end; told once the socket is closed.
    Close(ListenerId, Duration, oneshot::Sender<()>),
    /// Close every listener and end with the last connection.
    Leave(Duration),
    /// End now.
    Cut,
}

/// Serves until told to leave and empty, or until `commands` closes; the first revision comes by a command, too. Runs on
/// a thread of its own.
///
/// # Errors
/// When the runtime cannot be built.
pub(crate) fn serve(
    index: usize,
    equipment: Equipment,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        if let Some((live, done)) = first(&mut commands).await {
            let worker = Rc::new(Worker::new(index, equipment, live));
            // Whoever asked may have given up.
            let _ = done.send(());
            obey(&worker, commands).await;
        }
    });
    Ok(())
}

/// The revision to begin with; nothing when the process leaves before there is one.
async fn first(commands: &mut mpsc::UnboundedReceiver<Command>) -> Option<(Arc<Live>, oneshot::Sender<()>)> {
    loop {
        match commands.recv().await? {
            Command::Run(live, done) => return Some((live, done)),
            Command::Leave(_) | Command::Cut => return None,
            // There is no listener before the first revision.
            Command::Open(..) | Command::Limit(..) | Command::Close(..) => {}
        }
    }
}

async fn obey(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut house = House { worker: Rc::clone(worker), doors: BTreeMap::new(), closing: Vec::new() };
    let mut sweep = tokio::time::interval(SWEEP);
    let mut bell = worker.overload.bell();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Leave(linger)) => break house.leave(linger),
                Some(Command::Cut) | None => return,
                Some(command) => house.obey(command),
            },
            Ok(()) = bell.changed() => {
                let want = *bell.borrow_and_update();
                house.make_room(want);
            }
            now = sweep.tick() => {
                worker.pool.sweep(now);
                house.closing.retain(|port| !port.is_empty());
            }
        }
    }
    tokio::select! {
        () = house.empty() => {}
        () = cut(&mut commands) => {}
    }
}

/// Ready when the process cuts what is left. A worker that leaves runs what it has, so it takes no other command.
async fn cut(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while !matches!(commands.recv().await, Some(Command::Cut) | None) {}
}

struct Door {
    port: Rc<Port>,
    stop: Rc<Notify>,
    accepting: tokio::task::JoinHandle<()>,
}

/// A worker's listeners.
struct House {
    worker: Rc<Worker>,
    doors: BTreeMap<ListenerId, Door>,
    closing: Vec<Rc<Port>>,
}

impl House {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Run(live, done) => {
                self.worker.run(live);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Command::Open(gate, limits, socket) => self.open(gate, &limits, socket),
            Command::Limit(id, limits) => {
                if let Some(door) = self.doors.get(&id) {
                    door.port.limit(&limits);
                }
            }
            Command::Close(id, linger, closed) => self.close(&id, linger, Some(closed)),
            Command::Leave(linger) => self.leave(linger),
            Command::Cut => {}
        }
    }

    /// Ends connections that wait for a request.
    fn make_room(&self, want: Want) {
        let ports = self.doors.values().map(|door| &door.port).chain(&self.closing);
        self.worker.overload.ended(want, ports.map(|port| port.make_room(want)).sum());
    }

    fn open(&mut self, gate: Arc<Gate>, limits: &Limits, socket: TcpListener) {
        let id = gate.id.clone();
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(listener = %id.name, %error, "cannot accept on a bound socket"),
        };
        let port = Rc::new(Port::new(gate, limits));
        let stop = Rc::new(Notify::new());
        let loop_ = accept::accept(Rc::clone(&self.worker), Rc::clone(&port), socket, Rc::clone(&stop));
        let accepting = tokio::task::spawn_local(loop_);
        self.doors.insert(id, Door { port, stop, accepting });
    }

    fn close(&mut self, id: &ListenerId, linger: Duration, closed: Option<oneshot::Sender<()>>) {
        if let Some(door) = self.doors.remove(id) {
            door.stop.notify_one();
            let port = Rc::clone(&door.port);
            self.closing.push(Rc::clone(&port));
            tokio::task::spawn_local(async move {
                // It ends by itself once the kernel's queue is empty; connections from there leave too.
                let _ = door.accepting.await;
                drop(closed);
                port.leave(linger);
            });
        }
    }

    fn leave(&mut self, linger: Duration) {
        let ids: Vec<_> = self.doors.keys().cloned().collect();
        ids.iter().for_each(|id| self.close(id, linger, None));
    }

    /// Ready when no connection is left on any listener, closed ones too.
    async fn empty(&self) {
        for port in &self.closing {
            port.left().await;
        }
    }
}
