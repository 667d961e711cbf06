//! What one connection and one request keep on the heap and move about: the sizes of their futures.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::client::Client;
use crate::connection;
use crate::downstream::h1::{ClientReader, ClientWriter};
use crate::exchange::{self, Downstream};
use crate::listener::Seat;
use crate::message::RequestHead;
use crate::socket::{Reader, Writer};
use crate::worker::Worker;

type Reading = ClientReader<TcpStream>;
type Writing = ClientWriter<TcpStream>;
type Address = std::net::SocketAddr;

fn of<A, F>(_: fn(A) -> F) -> usize {
    size_of::<F>()
}

/// What is awaited in place is never moved; a connection's future is moved once, when its task begins.
#[test]
fn futures_are_small() {
    let exchange = of(|(worker, client, head, down): (&'static Rc<Worker>, &'static Client, _, _)| {
        let down: &'static mut Downstream<'static, Reading, Writing> = down;
        let head: &'static mut RequestHead = head;
        exchange::exchange(worker, client, head, down)
    });
    let serve = of(|(worker, seat, client, ends): (&'static Rc<Worker>, &'static Rc<Seat>, &'static Client, _)| {
        let ends: (Reader<TcpStream>, Writer<TcpStream>) = ends;
        crate::downstream::h1::serve(worker, seat, client, ends)
    });
    let connection = of(|(worker, seat, stream, address): (Rc<Worker>, Rc<Seat>, TcpStream, Address)| {
        connection::serve(worker, seat, stream, address)
    });
    println!("futures in bytes: exchange {exchange}, HTTP/1.1 connection {serve}, connection {connection}");
    assert!(exchange <= 2560, "an exchange is {exchange} bytes");
    assert!(connection <= 4096, "a connection is {connection} bytes");
}
