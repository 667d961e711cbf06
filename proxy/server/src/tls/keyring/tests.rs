use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sluice_config::Environment;
use tempfile::TempDir;

use super::*;
use crate::metrics::SERIES_BUDGET;

/// A folder of certificates.
struct Shelf {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Shelf {
    fn new() -> Self {
        let (params, key) = (authority(), KeyPair::generate().unwrap());
        let shelf = Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params.clone(), key) };
        shelf.write("ca.pem", params.self_signed(shelf.issuer.key()).unwrap().pem());
        shelf
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(file), content).unwrap();
    }

    /// `FILE.pem` and `FILE.key`.
    fn issue(&self, file: &str, names: &[&str]) {
        self.issue_until(file, names, 4000);
    }

    fn issue_until(&self, file: &str, names: &[&str], year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.write(&format!("{file}.pem"), params.signed_by(&key, &self.issuer).unwrap().pem());
        self.write(&format!("{file}.key"), key.serialize_pem());
    }

    fn keyring(&self) -> Keyring {
        Keyring::new(self.folder.path().to_owned(), Metrics::new(1, SERIES_BUDGET)).unwrap()
    }

    fn unusable(&self, tls: &str) -> Vec<String> {
        let found = unusable_files(&document(&[tls]), self.folder.path());
        let folder = self.folder.path().display().to_string();
        found.iter().map(|file| file.to_string().replace(&folder, "DIR")).collect()
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A document with a listener for each of these settings, named a, b and so on.
fn document(tls: &[&str]) -> Validated {
    let listener = |(place, tls): (usize, &&str)| {
        let name = char::from(b'a' + place as u8);
        format!("{{ name: {name}, address: \"127.0.0.1:{}\", tls: {{ {tls} }} }}", 8000 + place)
    };
    let listeners: Vec<_> = tls.iter().enumerate().map(listener).collect();
    let text = format!(
        "listeners: [{}]\nservices: [{{ name: shop, endpoints: [\"127.0.0.1:9000\"] }}]\nroutes: [{{ service: shop }}]\n",
        listeners.join(", ")
    );
    sluice_config::validate(&text, &Environment::empty()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

const ONE: &str = "certificates: [{ cert: a.pem, key: a.key }]";

fn name(text: &str) -> ListenerName {
    text.parse().unwrap()
}

/// What is in force on the first listener.
fn terms(keyring: &Keyring) -> Arc<Terms> {
    keyring.ring().terms(&name("a")).unwrap()
}

fn hold(keyring: &Keyring, tls: &[&str]) {
    keyring.hold(keyring.prepare(&document(tls)).unwrap(), |_| None);
}

#[test]
fn what_is_wrong_with_files_is_told_with_what_to_do() {
    let shelf = Shelf::new();
    shelf.issue("a", &["a.test"]);
    shelf.issue("other", &["a.test"]);
    shelf.issue("nameless", &["10.0.0.1"]);
    shelf.write("empty", "");
    shelf.write("half.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    shelf.write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    shelf.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    shelf.write("junk.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let relative = "relative paths begin at the document's folder, with `sluice proxy` at that of --files";
    let at = "listeners[0].tls.certificates[0]";
    for (cert, key, told) in [
        ("gone.pem", "a.key", format!("{at}.cert: DIR/gone.pem is not there; {relative}")),
        ("a.pem", "gone.key", format!("{at}.key: DIR/gone.key is not there; {relative}")),
        (".", "a.key", format!("{at}.cert: DIR/. cannot be read: it is not a file; {relative}")),
        (
            "empty",
            "a.key",
            format!(
                "{at}.cert: DIR/empty holds no certificate in PEM form; it begins with the line -----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            "junk.pem",
            "a.key",
            format!(
                "{at}.cert: DIR/junk.pem begins with a certificate that cannot be understood; write it anew from what the \
                 authority gave"
            ),
        ),
        (
            "a.pem",
            "other.key",
            format!(
                "{at}.key: DIR/other.key is not the key of DIR/a.pem; name the key that this certificate was made for"
            ),
        ),
        (
            "a.pem",
            "a.pem",
            format!(
                "{at}.key: DIR/a.pem holds no private key in PEM form; it begins with a line such as -----BEGIN PRIVATE \
                 KEY-----"
            ),
        ),
        (
            "a.pem",
            "locked.key",
            format!(
                "{at}.key: DIR/locked.key holds no private key in PEM form; a key behind a passphrase cannot be read: \
                 `openssl pkey -in FILE -out FILE` writes it without"
            ),
        ),
        (
            "a.pem",
            "junk.key",
            format!(
                "{at}.key: DIR/junk.key is a key that cannot be used; use one of these kinds: ECDSA P-256 or P-384, RSA of \
                 2048 bits or more, Ed25519"
            ),
        ),
    ] {
        assert_eq!(shelf.unusable(&format!("certificates: [{{ cert: {cert}, key: {key} }}]")), [told]);
    }
    let half = shelf.unusable("certificates: [{ cert: half.pem, key: a.key }]");
    assert!(half[0].starts_with(&format!("{at}.cert: DIR/half.pem is not whole: ")), "{half:?}");
    let second =
        shelf.unusable("certificates: [{ cert: a.pem, key: a.key }, { cert: nameless.pem, key: nameless.key }]");
    let nameless = "listeners[0].tls.certificates[1].cert: DIR/nameless.pem holds no DNS name, so that no client can ask \
                    for it; have it issued with subject alternative names, or make it the only one";
    assert_eq!(second, [nameless]);
    let client = shelf.unusable(&format!("{ONE}, client_auth: {{ ca: gone.pem }}"));
    assert_eq!(client, [format!("listeners[0].tls.client_auth.ca: DIR/gone.pem is not there; {relative}")]);
    let good = ["certificates: [{ cert: nameless.pem, key: nameless.key }]", ONE];
    good.iter().for_each(|tls| assert_eq!(shelf.unusable(tls), Vec::<String>::new()));
}

#[test]
fn all_bad_files_are_told_at_once() {
    let shelf = Shelf::new();
    let found = shelf.unusable("certificates: [{ cert: x, key: y }, { cert: z, key: y }], client_auth: { ca: w }");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn what_is_held_is_carried_and_only_what_is_new_is_read() {
    let shelf = Shelf::new();
    shelf.issue("a", &["a.test"]);
    let keyring = shelf.keyring();
    hold(&keyring, &[ONE]);
    let first = terms(&keyring);
    shelf.write("a.pem", "broken");
    hold(&keyring, &[ONE]);
    assert!(Arc::ptr_eq(&first, &terms(&keyring)), "the same settings are the same terms");
    hold(&keyring, &[&format!("{ONE}, http2: false")]);
    assert!(!Arc::ptr_eq(&first, &terms(&keyring)));
    let both = "certificates: [{ cert: a.pem, key: a.key }, { cert: b.pem, key: b.key }]";
    assert_eq!(keyring.prepare(&document(&[both])).unwrap_err().len(), 1, "b was never read");
    shelf.issue("b", &["b.test"]);
    hold(&keyring, &[both]);
    hold(&keyring, &["certificates: [{ cert: b.pem, key: b.key }]"]);
    assert!(keyring.prepare(&document(&[ONE])).is_err(), "what no listener shows is not held");
}

#[test]
fn a_good_renewal_is_taken_and_a_bad_one_is_told_once_it_stays() {
    let shelf = Shelf::new();
    shelf.issue("a", &["a.test"]);
    let keyring = shelf.keyring();
    hold(&keyring, &[ONE]);
    let (first, count) = (terms(&keyring), |result| {
        let line = format!("sluice_certificate_reloads_total{{result=\"{result}\"}} ");
        let text = keyring.metrics.text();
        text.lines().find_map(|text| text.strip_prefix(&line)).unwrap().parse::<u32>().unwrap()
    });
    keyring.look(true);
    assert!(Arc::ptr_eq(&first, &terms(&keyring)), "nothing has changed");
    let troubles = || keyring.troubles(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)).unwrap();
    let key = fs::read(shelf.folder.path().join("a.key")).unwrap();
    shelf.issue("a", &["a.test"]);
    let renewed = fs::read(shelf.folder.path().join("a.key")).unwrap();
    shelf.write("a.key", &key);
    keyring.look(false);
    assert_eq!((troubles().len(), count("refused")), (0, 0), "the key may still be on its way");
    for _ in 0..3 {
        keyring.look(false);
        assert_eq!((troubles().len(), count("refused")), (1, 1));
        assert!(troubles()[0].contains("is not the key of"), "{:?}", troubles());
    }
    assert!(Arc::ptr_eq(&first, &terms(&keyring)));
    shelf.write("a.key", renewed);
    keyring.look(false);
    assert!(!Arc::ptr_eq(&first, &terms(&keyring)));
    assert_eq!((troubles().len(), count("refused"), count("ok")), (0, 1, 1));
}

#[test]
fn an_urgent_look_tells_at_once_and_what_is_put_back_is_no_trouble() {
    let shelf = Shelf::new();
    shelf.issue("a", &["a.test"]);
    let keyring = shelf.keyring();
    hold(&keyring, &[ONE]);
    let path = shelf.folder.path().join("a.pem");
    fs::rename(&path, path.with_extension("aside")).unwrap();
    keyring.look(true);
    let troubles = || keyring.troubles(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)).unwrap();
    assert!(troubles()[0].ends_with("a.pem is not there; what was read before is served"), "{:?}", troubles());
    fs::rename(path.with_extension("aside"), &path).unwrap();
    keyring.look(false);
    keyring.look(false);
    assert_eq!(troubles(), Vec::<String>::new());
}

#[test]
fn sessions_are_of_what_was_asked_of_their_client() {
    let shelf = Shelf::new();
    shelf.issue("a", &["a.test"]);
    let keyring = shelf.keyring();
    let with = |mode: &str| format!("{ONE}, client_auth: {{ ca: ca.pem, mode: {mode} }}");
    hold(&keyring, &[ONE, ONE, &with("required"), &with("required"), &with("optional")]);
    let tickets = |listener: &str| Arc::clone(&keyring.ring().terms(&name(listener)).unwrap().config.ticketer);
    let same = |one: &Arc<dyn ProducesTickets>, other: &Arc<dyn ProducesTickets>| Arc::ptr_eq(one, other);
    assert!(same(&tickets("a"), &tickets("b")) && same(&tickets("c"), &tickets("d")));
    assert!(!same(&tickets("a"), &tickets("c")) && !same(&tickets("c"), &tickets("e")));
    let (plain, required) = (tickets("a"), tickets("c"));
    shelf.issue("a", &["a.test"]);
    keyring.look(false);
    assert!(same(&plain, &tickets("a")) && same(&required, &tickets("c")), "a renewed certificate ends no session");
    shelf.write("ca.pem", authority().self_signed(&KeyPair::generate().unwrap()).unwrap().pem());
    keyring.look(false);
    assert!(same(&plain, &tickets("a")) && !same(&required, &tickets("c")), "another authority does");
}

#[test]
fn the_end_of_a_certificate_is_told_a_week_before() {
    let shelf = Shelf::new();
    shelf.issue_until("a", &["a.test"], 2030);
    let keyring = shelf.keyring();
    assert_eq!(keyring.troubles(SystemTime::now()), None, "no listener speaks TLS");
    hold(&keyring, &[ONE]);
    let end = 1_893_456_000;
    let at = |second: i64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second.unsigned_abs());
        keyring.troubles(now).unwrap().join("; ")
    };
    assert_eq!(at(end - NEAR), "");
    assert_eq!(at(end - NEAR + 1), "a.pem expires in 167 h");
    assert_eq!(at(end), "a.pem has expired");
    assert_eq!(at(0), "a.pem is not valid yet");
    let line = format!("sluice_certificate_expiry_timestamp_seconds{{listener=\"a\",certificate=\"a.pem\"}} {end}\n");
    assert!(keyring.metrics.text().contains(&line));
}
