//! Whether traffic could reach the control plane: an endpoint must not be its own admin address.

use std::net::{IpAddr, SocketAddr};

use crate::problem::{Code, Path, Problem, Problems};
use crate::tree::{self, Environment, Node, Value};

use super::judge::section;

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
        let address: Option<SocketAddr> = node.text().and_then(|text| text.parse().ok());
        if address.is_some_and(|address| own.iter().any(|own| is_own(*own, address))) {
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
    let same = ours == theirs || (ours.is_unspecified() && is_here(theirs));
    own.port() == endpoint.port() && (same || (theirs.is_unspecified() && is_here(ours)))
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
    }
}
