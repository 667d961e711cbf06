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
    /// Accept on these sockets.
    Open(Arc<Gate>, Limits, Vec<TcpListener>),
    /// What the clients of this listener may use up has changed.
    Limit(ListenerId, Limits),
    /// Accept no more on this listener and let its connections end; told once the socket is closed.
    Close(ListenerId, Duration, oneshot::Sender<()>),
    /// Tell on which sockets there is accepting.
    Lend(oneshot::Sender<Vec<(ListenerId, TcpListener)>>),
    /// Answer, to show that there is no hanging.
    Answer(oneshot::Sender<()>),
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
            Command::Open(..) | Command::Limit(..) | Command::Close(..) | Command::Lend(_) => {}
            Command::Answer(answer) => yes(answer),
        }
    }
}

/// This worker does not hang.
fn yes(answer: oneshot::Sender<()>) {
    // Whoever asked may have given up.
    let _ = answer.send(());
}

async fn obey(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut house = House { worker: Rc::clone(worker), doors: BTreeMap::new(), closing: Vec::new() };
    let mut sweep = tokio::time::interval(SWEEP);
    let mut bell = worker.overload.bell();
    let mut crowded = worker.connector.dialer.bell();
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
            Ok(()) = crowded.changed() => worker.pool.relieve(tokio::time::Instant::now()),
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
    loop {
        match commands.recv().await {
            Some(Command::Cut) | None => return,
            Some(Command::Answer(answer)) => yes(answer),
            Some(_) => {}
        }
    }
}

struct Door {
    port: Rc<Port>,
    accepting: Vec<Accepting>,
}

/// One socket of a listener.
struct Accepting {
    stop: Rc<Notify>,
    task: tokio::task::JoinHandle<()>,
    /// The same socket, to be lent. It must be gone before the accepting ends: what is left open is a socket that
    /// takes connections in and gives them to nobody.
    socket: TcpListener,
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
                self.doors.values().for_each(|door| door.port.follow(&live));
                self.worker.run(live);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Command::Open(gate, limits, sockets) => self.open(gate, &limits, sockets),
            Command::Limit(id, limits) => {
                if let Some(door) = self.doors.get(&id) {
                    door.port.limit(&limits);
                }
            }
            Command::Close(id, linger, closed) => self.close(&id, linger, Some(closed)),
            Command::Lend(lent) => {
                // Whoever asked may have given up.
                let _ = lent.send(self.lend());
            }
            Command::Answer(answer) => yes(answer),
            Command::Leave(linger) => self.leave(linger),
            Command::Cut => {}
        }
    }

    /// Ends connections that wait for a request.
    fn make_room(&self, want: Want) {
        let ports = self.doors.values().map(|door| &door.port).chain(&self.closing);
        self.worker.overload.ended(want, ports.map(|port| port.make_room(want)).sum());
    }

    fn open(&mut self, gate: Arc<Gate>, limits: &Limits, sockets: Vec<TcpListener>) {
        let id = gate.id.clone();
        let port = Rc::new(Port::new(gate, limits));
        port.follow(&self.worker.running().live);
        let opened = sockets.into_iter().map(|socket| self.accept(&port, socket));
        match opened.collect() {
            Ok(accepting) => drop(self.doors.insert(id, Door { port, accepting })),
            Err(error) => tracing::error!(listener = %id.name, %error, "cannot accept on a bound socket"),
        }
    }

    fn accept(&self, port: &Rc<Port>, socket: TcpListener) -> io::Result<Accepting> {
        let stop = Rc::new(Notify::new());
        let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
        let task = accept::accept(Rc::clone(&self.worker), Rc::clone(port), listener, Rc::clone(&stop));
        Ok(Accepting { stop, task: tokio::task::spawn_local(task), socket })
    }

    fn lend(&self) -> Vec<(ListenerId, TcpListener)> {
        let mut lent = Vec::new();
        for (id, door) in &self.doors {
            for accepting in &door.accepting {
                match accepting.socket.try_clone() {
                    Ok(socket) => lent.push((id.clone(), socket)),
                    Err(error) => tracing::error!(listener = %id.name, %error, "a socket cannot be handed over"),
                }
            }
        }
        lent
    }

    fn close(&mut self, id: &ListenerId, linger: Duration, closed: Option<oneshot::Sender<()>>) {
        if let Some(Door { port, accepting }) = self.doors.remove(id) {
            self.closing.push(Rc::clone(&port));
            let stop = |Accepting { stop, task, socket }| {
                drop(socket);
                stop.notify_one();
                task
            };
            let tasks: Vec<_> = accepting.into_iter().map(stop).collect();
            tokio::task::spawn_local(async move {
                for task in tasks {
                    // It ends by itself once the kernel's queue is empty; connections from there leave too.
                    let _ = task.await;
                }
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
