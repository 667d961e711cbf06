//! Who a client has proven to be, in the fields that origins read: `Client-Cert` (RFC 9440) has the whole certificate,
//! `X-Forwarded-Client-Cert` what most policies ask for, in the form that Envoy gave it. Written once for each
//! connection.

use std::fmt::Write as _;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A client's certificate as origins are told of it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The value of `Client-Cert`.
    pub(crate) certificate: Box<str>,
    /// The value of `X-Forwarded-Client-Cert`.
    pub(crate) summary: Box<str>,
}

impl Identity {
    /// Of a certificate in DER form that was verified; nothing for one that cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let fingerprint = HEXLOWER.encode(&Sha256::digest(der));
        let mut summary = format!("Hash={fingerprint};Subject={}", quoted(&subject(certificate.subject())));
        alternative_names(&certificate, &mut summary);
        Some(Self { certificate: format!(":{}:", BASE64.encode(der)).into(), summary: summary.into() })
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the form has places for these two kinds")]
fn alternative_names(certificate: &X509Certificate<'_>, out: &mut String) {
    let extension = certificate.subject_alternative_name().ok().flatten();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        let (kind, name) = match name {
            GeneralName::URI(uri) => ("URI", uri),
            GeneralName::DNSName(name) => ("DNS", name),
            _ => continue,
        };
        // Both kinds are of visible characters; what is not is no name, and could end the field.
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            out.push_str(&format!(";{kind}={}", value(name)));
        }
    }
}

/// As it is, unless a reader could take a part of it for the end of the value.
fn value(text: &str) -> String {
    if text.contains([',', ';', '=', '"', '\\']) { quoted(text) } else { text.to_owned() }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A name as RFC 4514 writes it: the last part first. Only visible ASCII and spaces; all else is written in hexadecimal digits.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let part = |attributes: Vec<String>| attributes.join("+");
    let parts = parts.into_iter().rev().map(|rdn| part(rdn.iter().map(attribute).collect()));
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let kind = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry);
    let kind = kind.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
    match attribute.as_str() {
        Ok(text) => format!("{kind}={}", escaped(text)),
        Err(_) => format!("{kind}=#{}", HEXLOWER.encode(attribute.as_slice())),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let at_end = place == 0 || place + 1 == text.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' => out.extend(['\\', char::from(byte)]),
            b' ' if at_end => out.push_str("\\ "),
            b'#' if place == 0 => out.push_str("\\#"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\{byte:02X}").expect("a text takes all that is written to it"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(subject: &[(DnType, &str)], uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["node.example.com".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_told_whole_and_in_short() {
        let subject =
            [(DnType::CountryName, "CH"), (DnType::OrganizationName, "A, \"B\""), (DnType::CommonName, "bücher")];
        let der = certificate(&subject, &["spiffe://example.com/a", "urn:a;URI=b"]);
        let identity = Identity::of(&der).unwrap();
        assert_eq!(*identity.certificate, format!(":{}:", BASE64.encode(&der)));
        let hash = HEXLOWER.encode(&Sha256::digest(&der));
        let names = r#"DNS=node.example.com;URI=spiffe://example.com/a;URI="urn:a;URI=b""#;
        let subject = r#""CN=b\\C3\\BCcher,O=A\\, \\\"B\\\",C=CH""#;
        assert_eq!(*identity.summary, format!("Hash={hash};Subject={subject};{names}"));
    }

    proptest! {
        /// Whatever an authority signs: it stays inside its quotes and inside its field.
        #[test]
        fn no_name_leaves_its_place(common in "[ -~\u{a0}-\u{2fff}]{0,40}", uri in "[!-~]{1,40}") {
            let der = certificate(&[(DnType::CommonName, &common)], &[&uri]);
            let summary = Identity::of(&der).unwrap().summary;
            prop_assert!(summary.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let (mut inside, mut bare, mut bytes) = (false, String::new(), summary.chars());
            while let Some(c) = bytes.next() {
                match c {
                    '"' => inside = !inside,
                    '\\' if inside => drop(bytes.next()),
                    c if !inside => bare.push(c),
                    _ => {}
                }
            }
            prop_assert!(!inside);
            prop_assert_eq!(bare.matches(';').count(), 3, "{}", summary);
            prop_assert_eq!(bare.matches('=').count(), 4, "{}", summary);
        }
    }
}
