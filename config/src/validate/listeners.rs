//! Whether all listeners can be bound at once.

use std::net::SocketAddr;

use super::judge::{Judge, repeated, section};
use crate::bound::{Rate, RateOrOff};
use crate::problem::{Code, Path, quote};
use crate::schema::listener as written;
use crate::schema::tls as written_tls;
use crate::size::Size;
use crate::validated::{Certificate, ClientAuth, Limits, Listener, Paths, ProxyProtocol, Tls};

/// What a head may be, in bytes: below the first, ordinary requests fail; above the second, clients buy memory.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 20;
/// A minimum rate above this cuts off clients that are merely far away.
const MIN_RATE: Size = Size::kibibytes(1_024);

pub(super) fn resolve(judge: &mut Judge<'_>, listeners: &[written::Listener]) -> Vec<Listener> {
    judge.unique_names(&section("listeners"), "listener", listeners.iter().map(|listener| listener.name.as_str()));
    check_addresses(judge, listeners);
    listeners.iter().enumerate().map(|(index, listener)| resolve_one(judge, index, listener)).collect()
}

fn check_addresses(judge: &mut Judge<'_>, listeners: &[written::Listener]) {
    let is_known = |judge: &Judge<'_>, index: usize| !judge.is_lost(&section("listeners"), index, "address");
    for (later, listener) in listeners.iter().enumerate() {
        let address = listener.address.0;
        let collides = |earlier: &usize| is_known(judge, *earlier) && collide(listeners[*earlier].address.0, address);
        let earlier = (0..later).find(collides).filter(|_| is_known(judge, later));
        if let Some(earlier) = earlier {
            let other = judge.place(section("listeners").item(earlier).field("address"));
            let message = format!("{address} cannot be bound beside {}, {other}", listeners[earlier].address.0);
            let path = section("listeners").item(later).field("address");
            judge.report(Code::SameAddress, path, message, Some("use another port or address".to_owned()));
        }
    }
}

fn resolve_one(judge: &mut Judge<'_>, index: usize, listener: &written::Listener) -> Listener {
    let limits = &listener.limits;
    let path = section("listeners").item(index).field("limits");
    if !HEADER_BYTES.contains(&limits.header_bytes.get()) {
        let (least, most) = (Size::bytes(*HEADER_BYTES.start()), Size::bytes(*HEADER_BYTES.end()));
        let message = format!("{} is not between {least} and {most}", limits.header_bytes);
        judge.report(Code::OutOfRange, path.clone().field("header_bytes"), message, None);
    }
    check_rate(judge, path.clone().field("receive_min_rate"), limits.receive_min_rate);
    check_rate(judge, path.field("send_min_rate"), limits.send_min_rate);
    check_identity(judge, index, listener);
    Listener {
        name: listener.name.clone(),
        address: listener.address.0,
        limits: resolve_limits(limits),
        tls: listener.tls.as_ref().map(|tls| resolve_tls(judge, index, tls)),
        proxy_protocol: listener.proxy_protocol,
        trusted_proxies: listener.trusted_proxies.clone(),
        forwarded: listener.forwarded,
        paths: Paths {
            dot_segments: listener.paths.dot_segments,
            encoded_slashes: listener.paths.encoded_slashes,
            merge_slashes: listener.paths.merge_slashes,
        },
    }
}

fn check_rate(judge: &mut Judge<'_>, path: Path, rate: RateOrOff) {
    let too_high = rate.0.filter(|rate| rate.0 > MIN_RATE);
    if let Some(rate) = too_high {
        let message = format!("{rate} is more than {}, which many honest clients do not reach", Rate(MIN_RATE));
        judge.report(
            Code::OutOfRange,
            path,
            message,
            Some("some hundred bytes are enough against attackers".to_owned()),
        );
    }
}

fn resolve_limits(limits: &written::Limits) -> Limits {
    Limits {
        connections: limits.connections,
        connections_per_address: limits.connections_per_address.get(),
        header_bytes: u32::try_from(limits.header_bytes.get()).unwrap_or(u32::MAX),
        header_count: limits.header_count,
        header_timeout: limits.header_timeout.0,
        keep_alive: limits.keep_alive.0,
        requests_per_connection: limits.requests_per_connection.get(),
        body_bytes: limits.body_bytes.0.map(Size::get),
        receive_min_rate: limits.receive_min_rate.0.map(|rate| rate.0.get()),
        send_min_rate: limits.send_min_rate.0.map(|rate| rate.0.get()),
        min_rate_grace: limits.min_rate_grace.0,
    }
}

fn resolve_tls(judge: &mut Judge<'_>, index: usize, tls: &written_tls::Tls) -> Tls {
    let list = section("listeners").item(index).field("tls").field("certificates");
    let known = |judge: &Judge<'_>, place| !judge.is_lost(&list, place, "cert") && !judge.is_lost(&list, place, "key");
    let pairs: Vec<_> = tls.certificates.iter().enumerate().filter(|(place, _)| known(judge, *place)).collect();
    for (later, first, pair) in repeated(pairs.into_iter()) {
        let other = judge.place(list.clone().item(first));
        let message = format!("the certificate {} stands here twice: {other}", quote(&pair.cert));
        judge.report(Code::DuplicateValue, list.clone().item(later), message, Some("leave one of them out".to_owned()));
    }
    let pair = |pair: &written_tls::Certificate| Certificate { cert: pair.cert.clone(), key: pair.key.clone() };
    let client_auth = |auth: &written_tls::ClientAuth| ClientAuth { ca: auth.ca.clone(), mode: auth.mode };
    Tls {
        certificates: tls.certificates.iter().map(pair).collect(),
        require_sni: tls.require_sni,
        min_version: tls.min_version,
        client_auth: tls.client_auth.as_ref().map(client_auth),
        http2: tls.http2,
        handshake_timeout: tls.handshake_timeout.0,
        host_mismatch: tls.host_mismatch,
    }
}

/// A header of the PROXY protocol from just anybody would let clients choose their address.
fn check_identity(judge: &mut Judge<'_>, index: usize, listener: &written::Listener) {
    let list = section("listeners");
    let nobody = listener.proxy_protocol == ProxyProtocol::Required && listener.trusted_proxies.is_empty();
    if nobody && !judge.is_lost(&list, index, "trusted_proxies") {
        let message = "nobody could connect: the header is taken from `trusted_proxies` only, and there are none";
        let hint = "name the load balancers that send it: trusted_proxies: [\"10.0.0.0/8\"]";
        let path = list.item(index).field("proxy_protocol");
        judge.report(Code::MissingField, path, message, Some(hint.to_owned()));
    }
}

/// Whether two sockets cannot listen on both: the same port, and one address that includes the other. `[::]` includes
/// IPv4 too, as a dual-stack socket does.
#[must_use]
pub fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let includes = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.ip().to_canonical().is_ipv4())
    };
    a.port() == b.port() && (a.ip().to_canonical() == b.ip().to_canonical() || includes(a, b) || includes(b, a))
}

#[cfg(test)]
mod tests {
    #[test]
    fn wide_addresses_collide_with_narrow_ones() {
        let collide = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(super::collide(a, b), super::collide(b, a));
            super::collide(a, b)
        };
        assert!(collide("1.2.3.4:80", "1.2.3.4:80"));
        assert!(collide("0.0.0.0:80", "1.2.3.4:80"));
        assert!(collide("[::]:80", "1.2.3.4:80"));
        assert!(collide("[::]:80", "[::1]:80"));
        assert!(collide("[::]:80", "0.0.0.0:80"));
        assert!(collide("[::ffff:1.2.3.4]:80", "1.2.3.4:80"));
        assert!(!collide("0.0.0.0:80", "[::1]:80"));
        assert!(!collide("1.2.3.4:80", "1.2.3.5:80"));
        assert!(!collide("0.0.0.0:80", "0.0.0.0:81"));
    }
}
