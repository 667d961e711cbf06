//! The `format` keywords of the schema: each names the one parser that its texts must pass.

use crate::address::{Address, AddressError};
use crate::bound::{BoundError, RateOrOff, SizeOrOff, SizeThatFits, TimesOrOff};
use crate::duration::{self, DurationError};
use crate::limit;
use crate::name;
use crate::network::{Network, NetworkError};
use crate::path;
use crate::percentage::{Percentage, PercentageError};
use crate::problem::{Code, quote};
use crate::schema::health_check::{StatusSpan, StatusSpanError};
use crate::share::{Share, ShareError};
use crate::size::{Size, SizeError};
use crate::validated::Paths;

/// Why a text was refused, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

macro_rules! formats {
    ($($name:ident = $keyword:literal, $sample:literal, $least:literal;)+) => {
        /// A kind of text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Format {
            $($name,)+
        }

        impl Format {
            pub(crate) fn of(keyword: &str) -> Option<Self> {
                match keyword {
                    $($keyword => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// What a text of this kind looks like, for hints and the reference.
            pub(crate) const fn sample(self) -> &'static str {
                match self {
                    $(Self::$name => $sample,)+
                }
            }

            /// The shortest text of this kind that is plain to read, for what must be decoded although it was not written.
            pub(crate) const fn least(self) -> &'static str {
                match self {
                    $(Self::$name => $least,)+
                }
            }
        }
    };
}

formats! {
    Name = "name", "a name", "x";
    RouteName = "route-name", "a name", "x";
    Duration = "duration", "a duration such as 250ms, 5s or 1m30s", "1s";
    DurationOrZero = "duration-or-zero", "a duration such as 0s or 1s", "0s";
    Timeout = "timeout", "a duration such as 5s, or off", "1s";
    Size = "size", "a size such as 32KiB or 1MiB", "1B";
    Share = "share", "a share such as 20%", "1%";
    ShareOrOff = "share-or-off", "a share such as 20%, or off", "1%";
    Percentage = "percentage", "a percentage such as 140%", "100%";
    SizeOrOff = "size-or-off", "a size such as 1MiB, or off", "1B";
    SizeThatFits = "size-that-fits", "a size such as 2GiB, auto or off", "off";
    RateOrOff = "rate-or-off", "a rate such as 240B/s, or off", "1B/s";
    TimesOrOff = "times-or-off", "a rate such as 500/s, or off", "1/s";
    SocketAddress = "socket-address", "\"IP:PORT\"", "127.0.0.1:1";
    Network = "network", "a network such as 10.0.0.0/8, or an address", "127.0.0.1";
    Host = "host", "a host such as shop.example.com or *.example.com", "x";
    HostField = "host-field", "a host such as shop.example.com", "x";
    DnsName = "dns-name", "a name of DNS such as shop.west.internal", "x";
    ServerName = "server-name", "a host such as shop.internal, or an IP address", "x";
    Path = "path", "a path such as /api", "/";
    RequestTarget = "request-target", "a path such as /healthz", "/";
    Method = "method", "a method such as GET", "GET";
    HeaderName = "header-name", "the name of a header", "x";
    CookieName = "cookie-name", "the name of a cookie", "x";
    ParameterName = "parameter-name", "the name of a query parameter", "x";
    FieldValue = "field-value", "a value", "x";
    FilePath = "file-path", "a path such as certs/site.pem", "x";
    HeaderValue = "header-value", "a value", "x";
    ProbeText = "probe-text", "a text", "x";
    StatusRange = "status-range", "a range of statuses such as 200-299", "200-299";
}

impl Format {
    /// Whether the text is one of this kind.
    pub(crate) fn check(self, text: &str) -> Result<(), Refusal> {
        match self {
            Self::Name => check_name(text),
            Self::RouteName => check_route_name(text),
            Self::Duration => check_duration(text, false),
            Self::DurationOrZero => duration::parse(text).map(drop).map_err(|error| bad_duration(text, error)),
            Self::Timeout if text == "off" => Ok(()),
            Self::Timeout => check_duration(text, true),
            Self::Size => text.parse::<Size>().map(drop).map_err(|error| bad_size(text, error)),
            Self::Share => text.parse::<Share>().map(drop).map_err(|error| bad_share(text, error)),
            Self::ShareOrOff if text == "off" => Ok(()),
            Self::ShareOrOff => text.parse::<Share>().map(drop).map_err(|error| bad_share(text, error)),
            Self::Percentage => text.parse::<Percentage>().map(drop).map_err(|error| bad_percentage(text, error)),
            Self::SizeOrOff => text.parse::<SizeOrOff>().map(drop).map_err(|error| bad_bound(text, error, self)),
            Self::SizeThatFits => text.parse::<SizeThatFits>().map(drop).map_err(|error| bad_bound(text, error, self)),
            Self::RateOrOff => text.parse::<RateOrOff>().map(drop).map_err(|error| bad_bound(text, error, self)),
            Self::TimesOrOff => text.parse::<TimesOrOff>().map(drop).map_err(|error| bad_bound(text, error, self)),
            Self::SocketAddress => text.parse::<Address>().map(drop).map_err(|error| bad_address(text, error)),
            Self::Network => text.parse::<Network>().map(drop).map_err(|error| bad_network(text, error)),
            Self::Host => check_host(text),
            Self::HostField => check_host_field(text),
            Self::DnsName => check_dns_name(text),
            Self::ServerName => check_server_name(text),
            Self::Path => check_path(text),
            Self::RequestTarget => check_target(text),
            Self::Method => check_method(text),
            Self::HeaderName | Self::CookieName => check_token(text, self),
            Self::ParameterName => check_parameter(text),
            Self::FieldValue | Self::HeaderValue => check_value(text),
            Self::ProbeText => check_probe_text(text),
            Self::StatusRange => text.parse::<StatusSpan>().map(drop).map_err(|error| bad_statuses(text, error)),
            Self::FilePath => check_file_path(text),
        }
    }
}

fn check_name(text: &str) -> Result<(), Refusal> {
    let hint = "letters, digits, `-`, `_` and `.`; the first is a letter or digit; at most 63";
    name::check(text)
        .map_err(|error| Refusal::new(Code::BadName, format!("{} is not a name: {error}", quote(text))).hint(hint))
}

fn check_route_name(text: &str) -> Result<(), Refusal> {
    let refusal = if text.trim().is_empty() {
        Refusal::new(Code::BadName, "the name of a route must not be empty")
    } else if text.len() > limit::ROUTE_NAME_BYTES {
        Refusal::new(Code::BadName, format!("the name of a route has at most {} bytes", limit::ROUTE_NAME_BYTES))
    } else if text.contains(char::is_control) {
        Refusal::new(Code::BadName, format!("{} has a control character", quote(text)))
    } else {
        return Ok(());
    };
    Err(refusal)
}

fn check_duration(text: &str, may_be_off: bool) -> Result<(), Refusal> {
    let error = match duration::parse(text) {
        Ok(duration) if duration.is_zero() => DurationError::Zero,
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let refusal = bad_duration(text, error);
    let wants_off = may_be_off && matches!(error, DurationError::Zero | DurationError::TooLong);
    Err(if wants_off { refusal.hint("write `off` for no limit") } else { refusal })
}

fn bad_duration(text: &str, error: DurationError) -> Refusal {
    let hint = match error {
        DurationError::NoUnit => format!("write the unit: {text}ms or {text}s"),
        DurationError::Fraction => "use the smaller unit: 1s500ms".to_owned(),
        DurationError::Order => "the longest unit goes first, each at most once: 1h30m".to_owned(),
        DurationError::Malformed | DurationError::UnknownUnit | DurationError::Zero | DurationError::TooLong => {
            "digits and a unit, ms, s, m or h: 250ms, 5s, 1m30s, 2h".to_owned()
        }
    };
    let refusal = Refusal::new(Code::BadDuration, format!("{} {error}", quote(text)));
    if text.len() > limit::ROUTE_NAME_BYTES { refusal } else { refusal.hint(hint) }
}

fn bad_size(text: &str, error: SizeError) -> Refusal {
    Refusal::new(Code::BadSize, format!("{} {error}", quote(text)))
        .hint("digits and a unit, B, KiB, MiB, GiB, KB, MB or GB: 32KiB")
}

fn bad_share(text: &str, error: ShareError) -> Refusal {
    let hint = match error {
        ShareError::NoSign => format!("write the sign: {text}%"),
        ShareError::Malformed | ShareError::TooLarge | ShareError::TooFine => {
            "digits and a percent sign, 0% to 100%: 20%".to_owned()
        }
    };
    let refusal = Refusal::new(Code::BadShare, format!("{} {error}", quote(text)));
    if text.len() > limit::ROUTE_NAME_BYTES { refusal } else { refusal.hint(hint) }
}

fn bad_percentage(text: &str, error: PercentageError) -> Refusal {
    let hint = match error {
        PercentageError::NoSign => format!("write the sign: {text}%"),
        PercentageError::Malformed | PercentageError::Range => {
            "digits and a percent sign, 1% to 10000%: 140%".to_owned()
        }
    };
    let refusal = Refusal::new(Code::BadShare, format!("{} {error}", quote(text)));
    if text.len() > limit::ROUTE_NAME_BYTES { refusal } else { refusal.hint(hint) }
}

fn bad_bound(text: &str, error: BoundError, format: Format) -> Refusal {
    let refusal = Refusal::new(Code::BadSize, format!("{} {error}", quote(text)));
    match error {
        BoundError::Zero => refusal.hint("write `off` for no limit"),
        BoundError::Size(_) | BoundError::NoSecond | BoundError::NoNumber | BoundError::TooOften => {
            refusal.hint(format!("write {}", format.sample()))
        }
    }
}

fn bad_address(text: &str, error: AddressError) -> Refusal {
    let hint = match error {
        AddressError::NoPort => format!("write the port too: {text}:8080"),
        AddressError::NoAddress => format!("for every address of this machine write 0.0.0.0{text}"),
        AddressError::Name => "write the IP address; an endpoint by its name is { dns: NAME, port: 8080 }".to_owned(),
        AddressError::NoBrackets => "write [::1]:8080".to_owned(),
        AddressError::Malformed | AddressError::PortZero | AddressError::PortRange => {
            "an IP address and a port from 1 to 65535: 10.0.0.1:8080 or [::1]:8080".to_owned()
        }
    };
    let refusal = Refusal::new(Code::BadAddress, format!("{} {error}", quote(text)));
    if text.len() > limit::ROUTE_NAME_BYTES { refusal } else { refusal.hint(hint) }
}

fn bad_network(text: &str, error: NetworkError) -> Refusal {
    let hint = match error {
        NetworkError::BitsBehind(network) => {
            let alone = text.split_once('/').map_or(text, |(alone, _)| alone);
            format!("write {network}, or {alone} for this address alone")
        }
        NetworkError::Mapped(network) => format!("write {network}: clients are known by their IPv4 address"),
        NetworkError::NotAlone => {
            "names are not looked up, and a network has no port: write 10.0.0.0/8 or ::1".to_owned()
        }
        NetworkError::Malformed | NetworkError::Prefix(_) => {
            "an IP address, and behind a slash how many of its bits count: 10.0.0.0/8, fd00::/8, 192.0.2.7".to_owned()
        }
    };
    let refusal = Refusal::new(Code::BadNetwork, format!("{} {error}", quote(text)));
    if text.len() > limit::ROUTE_NAME_BYTES { refusal } else { refusal.hint(hint) }
}

fn check_host(text: &str) -> Result<(), Refusal> {
    let refusal = |reason: &str| Refusal::new(Code::BadHost, format!("{} is not a host: {reason}", quote(text)));
    if text == "*" {
        return Err(refusal("a star needs a domain").hint("leave `host` out to match any host"));
    }
    if text.contains("://") || text.contains('/') {
        return Err(refusal("it is a URL").hint("write the host alone: shop.example.com"));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if is_ip_literal(name) {
        return Ok(());
    }
    if name.contains(':') {
        return Err(refusal("it has a port").hint("a route matches the host on every port: leave the port out"));
    }
    if name.contains('*') {
        return Err(refusal("the star must be the whole first label").hint("write *.example.com"));
    }
    if name.len() > 253 {
        return Err(refusal("it has more than 253 characters"));
    }
    if name.ends_with('.') {
        return Err(refusal("it ends with a dot").hint("leave the dot out; requests with it match too"));
    }
    match name.split('.').find(|label| !is_label(label)) {
        Some(label) => Err(refusal(&format!("{} is not a label", quote(label)))
            .hint("letters, digits and `-`, at most 63 in each label")),
        None => Ok(()),
    }
}

fn is_ip_literal(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_host_field(text: &str) -> Result<(), Refusal> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(Refusal::new(Code::BadHost, format!("{} is not a host: its port is not a number", quote(text))));
    }
    if name.starts_with("*.") {
        return Err(Refusal::new(Code::BadHost, format!("{} is a pattern, not a host", quote(text))));
    }
    check_host(name)
}

/// A name that DNS can be asked for.
fn check_dns_name(text: &str) -> Result<(), Refusal> {
    let refusal = |reason: &str| Refusal::new(Code::BadHost, format!("{} {reason}", quote(text)));
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if inner.parse::<std::net::IpAddr>().is_ok() {
        return Err(refusal("is an address: nothing is to be looked up")
            .hint("write it as an address in place of the map: \"IP:PORT\""));
    }
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return Err(refusal("is an address: nothing is to be looked up").hint("write it alone, in place of the map"));
    }
    if text.contains("://") || text.contains('/') {
        return Err(refusal("is a URL").hint("write the name alone: shop.west.internal"));
    }
    if text.contains(':') {
        return Err(refusal("has a port").hint("the port stands beside it: { dns: shop.west.internal, port: 8080 }"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 {
        return Err(refusal("is no name of DNS: it has more than 253 characters"));
    }
    if let Some(label) = name.split('.').find(|label| !is_label(label)) {
        return Err(refusal(&format!("is no name of DNS: {} is not a label", quote(label)))
            .hint("letters, digits, `-` and `_`, 1 to 63 in each label"));
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refusal("is no name of DNS: its last label is a number").hint("is it an address with a slip?"));
    }
    Ok(())
}

/// A name that a certificate can be for.
fn check_server_name(text: &str) -> Result<(), Refusal> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if text.starts_with("*.") {
        let refusal = Refusal::new(Code::BadHost, format!("{} is a pattern, not a host", quote(text)));
        return Err(refusal.hint("write the one name that the endpoints' certificates are for"));
    }
    if text.starts_with('[') {
        let refusal = Refusal::new(Code::BadHost, format!("{} is not a host", quote(text)));
        return Err(refusal.hint("write an IPv6 address without brackets"));
    }
    if text.contains(':') && !text.contains('/') {
        let refusal = Refusal::new(Code::BadHost, format!("{} is not a host: it has a port", quote(text)));
        return Err(refusal.hint("certificates are for names, not for ports: leave the port out"));
    }
    check_host(text)
}

fn check_path(text: &str) -> Result<(), Refusal> {
    if let Some(mark) = text.chars().find(|c| matches!(c, '?' | '#')) {
        let refusal = Refusal::new(Code::BadPath, format!("{} has {mark:?}, which ends a path", quote(text)));
        return Err(if mark == '?' { refusal.hint("match parameters with `query`") } else { refusal });
    }
    check_target(text)?;
    check_form(text)
}

/// Requests are matched in the normal form of their paths, so a path in another form would match none.
fn check_form(text: &str) -> Result<(), Refusal> {
    let mut bytes = text.as_bytes().to_vec();
    let form = path::inspect(&bytes).and_then(|_| path::normalize(&mut bytes, Paths::default()));
    match form.map(|length| std::str::from_utf8(&bytes[..length])) {
        Ok(Ok(form)) if form == text => Ok(()),
        Ok(Ok(form)) => Err(Refusal::new(Code::BadPath, format!("{} never matches as it is written", quote(text)))
            .hint(format!("dot segments and encodings are resolved before: write {}", quote(form)))),
        Ok(Err(_)) | Err(_) => {
            Err(Refusal::new(Code::BadPath, format!("{} is a path that is refused in every request", quote(text)))
                .hint("no backslash, no broken percent-encoding, and no dot segment that leads above the root"))
        }
    }
}

fn check_target(text: &str) -> Result<(), Refusal> {
    let refusal = |reason: &str| Refusal::new(Code::BadPath, format!("{} {reason}", quote(text)));
    if !text.starts_with('/') {
        return Err(refusal("does not start with a slash")
            .hint(format!("write /{}", text.chars().take(60).collect::<String>())));
    }
    if text.len() > limit::PATH_BYTES {
        return Err(refusal(&format!("is longer than {} bytes", limit::PATH_BYTES)));
    }
    if text.contains('#') {
        return Err(refusal("has '#', which is never sent"));
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(c) => Err(refusal(&format!("has the character {c:?}"))
            .hint("a request has it percent-encoded, such as %20 for a space")),
        None => Ok(()),
    }
}

fn check_method(text: &str) -> Result<(), Refusal> {
    let refusal = |reason: &str| Refusal::new(Code::BadMethod, format!("{} {reason}", quote(text)));
    if text == "CONNECT" {
        return Err(refusal("is never routed").hint("Sluice is not a forward proxy"));
    }
    if !is_token(text) || text.len() > 32 {
        return Err(refusal("is not a method").hint("a word such as GET, POST or PATCH"));
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(refusal("is not in upper case")
            .hint(format!("methods are compared by case: write {}", text.to_ascii_uppercase())));
    }
    Ok(())
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn check_token(text: &str, format: Format) -> Result<(), Refusal> {
    if is_token(text) && text.len() <= 256 {
        return Ok(());
    }
    let hint = "letters, digits and !#$%&'*+-.^_`|~, without spaces or colons; at most 256";
    Err(Refusal::new(Code::BadField, format!("{} is not {}", quote(text), format.sample())).hint(hint))
}

fn check_parameter(text: &str) -> Result<(), Refusal> {
    if !text.is_empty() && text.len() <= 256 && !text.contains(|c: char| c.is_control() || matches!(c, '&' | '=' | '#'))
    {
        return Ok(());
    }
    let refusal = Refusal::new(Code::BadField, format!("{} is not the name of a query parameter", quote(text)));
    Err(refusal.hint("without `&`, `=` and `#`; at most 256 bytes"))
}

/// A line feed in a path would forge a line of the log.
fn check_file_path(text: &str) -> Result<(), Refusal> {
    let refusal = |reason: &str| Refusal::new(Code::BadPath, format!("{} {reason}", quote(text)));
    if text.is_empty() {
        return Err(refusal("is not the path of a file"));
    }
    if text.len() > limit::FILE_PATH_BYTES {
        return Err(refusal(&format!("is longer than {} bytes", limit::FILE_PATH_BYTES)));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(refusal(&format!("has the character {c:?}")).hint("give the file a name without it")),
        None => Ok(()),
    }
}

fn check_value(text: &str) -> Result<(), Refusal> {
    if text.len() > limit::VALUE_BYTES {
        return Err(Refusal::new(Code::BadField, format!("the value has more than {} bytes", limit::VALUE_BYTES)));
    }
    if text.contains(|c: char| c.is_control() && c != '\t') || text.trim() != text {
        let refusal = Refusal::new(Code::BadField, format!("{} can never be received", quote(text)));
        return Err(refusal.hint("values have no control characters, and no white space at their ends"));
    }
    Ok(())
}

/// What a probe sends, or looks for.
fn check_probe_text(text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(Code::BadField, "the text is empty").hint("leave the field out"));
    }
    if text.len() > limit::VALUE_BYTES {
        return Err(Refusal::new(Code::BadField, format!("the text has more than {} bytes", limit::VALUE_BYTES)));
    }
    Ok(())
}

fn bad_statuses(text: &str, error: StatusSpanError) -> Refusal {
    let hint = match error {
        StatusSpanError::Malformed => "write \"200-299\", or a status alone as a number: 204",
        StatusSpanError::Backwards => "the lower status goes first",
        StatusSpanError::NeverFinal => "an answer ends with a status from 200 to 599",
    };
    Refusal::new(Code::OutOfRange, format!("{} {error}", quote(text))).hint(hint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for good in
            ["a", "shop.example.com", "*.example.com", "EXAMPLE.com", "10.0.0.1", "[::1]", "a_b.c", "xn--bcher-kva.ch"]
        {
            assert_eq!(Format::Host.check(good), Ok(()), "{good}");
        }
        for bad in ["", "*", "a.*.b", "*a.b", "a:80", "http://a", "a/b", "a..b", "a.", "-a.b", "bücher.ch", "*.", "a b"]
        {
            assert!(Format::Host.check(bad).is_err(), "{bad}");
        }
        assert!(Format::HostField.check("a.b:80").is_ok() && Format::HostField.check("[::1]:80").is_ok());
        assert!(Format::HostField.check("*.b").is_err() && Format::HostField.check("a:b").is_err());
    }

    #[test]
    fn server_names_and_files() {
        for good in ["a", "shop.internal", "10.0.0.1", "::1", "2001:db8::1"] {
            assert_eq!(Format::ServerName.check(good), Ok(()), "{good}");
        }
        for bad in ["", "*.internal", "a:443", "[::1]", "https://a", "a/b", "a..b", "a b"] {
            assert!(Format::ServerName.check(bad).is_err(), "{bad}");
        }
        assert!(Format::FilePath.check("certs/ca.pem").is_ok() && Format::FilePath.check("/a b/ä.pem").is_ok());
        assert!(Format::FilePath.check("").is_err() && Format::FilePath.check("a\0b").is_err());
    }

    #[test]
    fn paths() {
        for good in ["/", "/api", "/api/", "/a%20b", "/a/.well-known", "/a/...", "//"] {
            assert_eq!(Format::Path.check(good), Ok(()), "{good}");
        }
        for bad in
            ["", "api", "/a?b", "/a#b", "/a/../b", "/./a", "/%2e%2E/a", "/a b", "/ä", "/%61", "/a%2fb", "/a\\b", "/%zz"]
        {
            assert!(Format::Path.check(bad).is_err(), "{bad}");
        }
        assert!(Format::RequestTarget.check("/health?deep=1").is_ok() && Format::RequestTarget.check("/a#b").is_err());
    }

    #[test]
    fn methods_and_fields() {
        assert!(Format::Method.check("GET").is_ok() && Format::Method.check("M-SEARCH").is_ok());
        assert!(
            Format::Method.check("get").is_err()
                && Format::Method.check("CONNECT").is_err()
                && Format::Method.check("A B").is_err()
        );
        assert!(Format::HeaderName.check("X-Debug").is_ok() && Format::HeaderName.check("x debug").is_err());
        assert!(Format::HeaderName.check(":path").is_err() && Format::CookieName.check("a=b").is_err());
        assert!(Format::FieldValue.check("a b").is_ok() && Format::FieldValue.check(" a").is_err());
        assert!(Format::ParameterName.check("a[]").is_ok() && Format::ParameterName.check("a&b").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), keyword in 0_usize..23) {
            let keywords = ["name", "route-name", "duration", "duration-or-zero", "timeout", "size", "socket-address", "host",
                "host-field", "path", "request-target", "method", "header-name", "cookie-name", "parameter-name", "field-value",
                "server-name", "file-path", "network", "share", "times-or-off", "probe-text", "status-range"];
            let format = Format::of(keywords[keyword]).unwrap();
            let _ = format.check(&text);
        }
    }
}
