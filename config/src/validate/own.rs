//! Whether an endpoint can be what answers: neither Sluice itself nor an address that nothing has.

use std::net::{IpAddr, SocketAddr};

use super::judge::{Judge, section};
use super::listeners::collide;
use crate::problem::{Code, Path, Problem, Problems};
use crate::tree::{self, Environment, Node, Value};
use crate::validated::Listener;

/// Refuses each endpoint at a listener of the same document, or where nothing can be.
///
/// Several machines may run one document, and an endpoint at another one's address is good, whatever its port. An address
/// that a listener names itself is refused all the same, loopback or not: only the machine that has it can bind the
/// listener, so whoever runs the document would send to itself.
pub(super) fn check(judge: &mut Judge<'_>, listeners: &[Listener]) {
    let list = section("listeners");
    let known = listeners.iter().enumerate().filter(|(place, _)| !judge.is_lost(&list, *place, "address"));
    let known: Vec<(usize, SocketAddr)> = known.map(|(place, listener)| (place, listener.address)).collect();
    for (path, node) in endpoints(judge.root) {
        let Some(address) = address(node).filter(|_| !judge.gaps.is_lost(&path)) else { continue };
        if is_nowhere(address) {
            let hint = "write the address of what answers; this machine is 127.0.0.1 or [::1]".to_owned();
            judge.report(Code::BadAddress, path, format!("nothing can answer at {address}"), Some(hint));
        } else if let Some((place, _)) = known.iter().find(|(_, own)| is_own(*own, address)) {
            let own = judge.place(list.clone().item(*place).field("address"));
            let message = format!("a request to {address} would come back at {own}, until no connection is left");
            judge.report(Code::OwnAddress, path, message, Some("let it be the address of what answers".to_owned()));
        }
    }
}

/// Refuses a sound document in which an endpoint is one of these addresses. An unspecified address (`0.0.0.0`) stands for
/// every address of this machine, of which the loopback ones are known.
///
/// Costs another reading of the text; linear.
///
/// # Errors
/// A problem for each such endpoint.
pub fn refuse_endpoints(text: &str, environment: &Environment, own: &[SocketAddr]) -> Result<(), Problems> {
    let mut problems = Problems::default();
    // What cannot be read was refused before, and is refused elsewhere.
    let Ok(root) = tree::read(text, environment, &mut Problems::default()) else { return Ok(()) };
    for (path, node) in endpoints(&root) {
        if address(node).is_some_and(|address| own.iter().any(|own| is_own(*own, address))) {
            let message =
                "the endpoint is the control plane's own admin address: what traffic can reach could change it";
            let hint = "let it be the address of what answers, or move the control plane with --admin";
            problems.push(Problem::new(Code::OwnAddress, path, node.at, message).hint(hint));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Whether an endpoint is this address of our own, as far as that can be told without asking the machine.
#[must_use]
pub fn is_own(own: SocketAddr, endpoint: SocketAddr) -> bool {
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    // An IPv4 address that is written as an IPv6 one is the same machine.
    let (ours, theirs) = (own.ip().to_canonical(), endpoint.ip().to_canonical());
    collide(own, endpoint) && (ours == theirs || (is_here(ours) && is_here(theirs)))
}

/// Whether nothing can have this address.
#[must_use]
pub fn is_nowhere(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    // All of 0.0.0.0/8 is "this network" (RFC 791): no address of anything.
    let no_host = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0);
    address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || no_host
}

fn address(node: &Node) -> Option<SocketAddr> {
    node.text().and_then(|text| text.parse().ok())
}

/// Every address of an endpoint, and which value it is.
fn endpoints(root: &Node) -> Vec<(Path, &Node)> {
    let mut found = Vec::new();
    for (place, service) in items(root.field("services")) {
        let path = section("services").item(place);
        lists(path.clone().field("endpoints"), service.field("endpoints"), &mut found);
        for (place, version) in items(service.field("versions")) {
            let path = path.clone().field("versions").item(place).field("endpoints");
            lists(path, version.field("endpoints"), &mut found);
        }
    }
    found
}

fn items(node: Option<&Node>) -> impl Iterator<Item = (usize, &Node)> {
    let items = match node.map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().enumerate()
}

/// A list of endpoints, or one for each region.
fn lists<'a>(path: Path, node: Option<&'a Node>, found: &mut Vec<(Path, &'a Node)>) {
    if let Some(Value::Map(entries)) = node.map(|node| &node.value) {
        return entries.iter().for_each(|entry| list(&path.clone().field(&entry.key), Some(&entry.node), found));
    }
    list(&path, node, found);
}

fn list<'a>(path: &Path, node: Option<&'a Node>, found: &mut Vec<(Path, &'a Node)>) {
    for (place, item) in items(node) {
        let path = path.clone().item(place);
        match item.field("address") {
            Some(address) => found.push((path.field("address"), address)),
            None => found.push((path, item)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_this_machine_is_known() {
        let is = |own: &str, endpoint: &str| is_own(own.parse().unwrap(), endpoint.parse().unwrap());
        assert!(is("127.0.0.1:9900", "127.0.0.1:9900"));
        assert!(is("0.0.0.0:9900", "127.0.0.1:9900"));
        assert!(is("[::]:9900", "127.0.0.7:9900"));
        assert!(is("127.0.0.1:9900", "0.0.0.0:9900"));
        assert!(is("10.0.0.1:9900", "10.0.0.1:9900"));
        assert!(!is("127.0.0.1:9900", "127.0.0.1:9901"));
        assert!(!is("127.0.0.1:9900", "10.0.0.1:9900"));
        assert!(!is("0.0.0.0:9900", "10.0.0.1:9900"));
        assert!(!is("[::]:9900", "10.0.0.1:9900"));
        assert!(!is("0.0.0.0:9900", "[::1]:9900"));
    }
}
