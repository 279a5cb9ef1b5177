//! Channels that speak TLS, over real sockets, with certificates made on the spot.

use super::harness::*;
use crate::channel::tls::{TlsError, check};
use crate::channel::{Bounds, Channels, Deps};
use crate::ids::ManualClock;
use crate::registry::items::{ChannelItem, ClientBinds, Source, TlsItem};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const IDENT: &str = "356307042441013";
const LONG: Duration = Duration::from_secs(20);

/// An authority that issues certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key, in PEM.
    fn issue(&self, hosts: &[&str], subject: &[(DnType, &str)]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in subject {
            params.distinguished_name.push(kind.clone(), *text);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A channel that speaks TLS, and what a tracker needs to call it.
struct Scene {
    deps: Deps,
    clock: Arc<ManualClock>,
    channels: Option<Channels>,
    item: ChannelItem,
    at: SocketAddr,
    servers: Authority,
    clients: Authority,
    folder: tempfile::TempDir,
    _data: tempfile::TempDir,
}

impl Scene {
    fn new(tls: TlsItem) -> Self {
        let (mut deps, clock, _files, _events, data) = deps(Bounds::default());
        let folder = tempfile::tempdir().unwrap();
        deps.certificates = Some(folder.path().to_owned());
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        std::fs::write(folder.path().join("clients.pem"), &clients.pem).unwrap();
        let item = ChannelItem {
            tls: Some(TlsItem {
                certificate: "gps.pem".to_owned(),
                key: "gps.key".to_owned(),
                ..tls
            }),
            ..channel(TELTONIKA, "teltonika")
        };
        deps.registry.put_channel(item.clone()).unwrap();
        let tracker = device(100, LEAF, "teltonika", IDENT);
        deps.registry.put_device(tracker).unwrap();
        let mut scene = Self {
            deps,
            clock,
            channels: None,
            item,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            servers,
            clients,
            folder,
            _data: data,
        };
        scene.renew();
        let channels = Channels::start(1, scene.deps.clone()).unwrap();
        scene.at = channels.open(&scene.item).unwrap();
        scene.channels = Some(channels);
        scene
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// A new certificate for the gateway: its DER.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.servers.issue(&["localhost"], &[]);
        self.write("gps.pem", &certificate);
        self.write("gps.key", &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn channels(&self) -> &Channels {
        self.channels.as_ref().unwrap()
    }

    /// A tracker that shows this certificate, if any.
    fn call(
        &self,
        shows: Option<&(String, String)>,
        version: &'static SupportedProtocolVersion,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.servers.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(session, plain(self.at))
    }

    /// Does the gateway answer this tracker's login? If not, it ends the connection.
    fn admits(&self, shows: Option<&(String, String)>) -> bool {
        let mut tracker = self.call(shows, &rustls::version::TLS13);
        let mut answer = [0];
        let answered = tracker
            .write_all(&login(IDENT))
            .and_then(|()| tracker.read_exact(&mut answer));
        answered.is_ok() && answer == [1]
    }

    /// Waits until the metrics have the line.
    #[track_caller]
    fn until(&self, line: &str) {
        let end = Instant::now() + LONG;
        loop {
            let page = self.deps.metrics.render();
            if page.lines().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < end, "never: {line}\n{page}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn plain(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

#[track_caller]
fn exchange(stream: &mut (impl io::Read + io::Write), sent: &[u8], expected: &[u8]) {
    stream.write_all(sent).unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
}

#[test]
fn trackers_speak_tls_1_2_and_1_3_and_what_is_counted_is_what_is_inside() {
    let scene = Scene::new(TlsItem::default());
    let login = login(IDENT);
    for (time, version) in [(1, &rustls::version::TLS12), (2, &rustls::version::TLS13)] {
        let mut tracker = scene.call(None, version);
        exchange(&mut tracker, &login, &[1]);
        exchange(&mut tracker, &packet(&[at(time)]), &taken(1));
        // many records of TLS, one answer for each packet
        let packets: Vec<u8> = (0..200)
            .flat_map(|second| packet(&[at(time * 1_000 + second)]))
            .collect();
        exchange(&mut tracker, &packets, &taken(1).repeat(200));
    }
    assert_eq!(
        scene
            .deps
            .registry
            .tree()
            .account(LEAF)
            .unwrap()
            .posted()
            .messages,
        402
    );
    let one = packet(&[at(1)]).len();
    scene.until(&format!(
        "tollgate_received_bytes_total{{channel=\"10\"}} {}",
        2 * (login.len() + 201 * one)
    ));
    scene.until("tollgate_tls_handshakes_total{outcome=\"done\"} 2");
}

#[test]
fn what_is_no_tls_is_closed_and_counted_as_nobodys() {
    let scene = Scene::new(TlsItem::default());
    let mut tracker = plain(scene.at);
    tracker.write_all(&login(IDENT)).unwrap();
    let mut rest = Vec::new();
    // an alert of TLS and the end, or a reset
    drop(tracker.read_to_end(&mut rest));
    assert_ne!(rest.first(), Some(&1), "{rest:02x?}");
    scene.until("tollgate_connections_closed_total{code=\"4\"} 1");
    scene.until("tollgate_tls_handshakes_total{outcome=\"violation\"} 1");
    scene.until("tollgate_unidentified_bytes_total{channel=\"10\"} 17");
    // one that never ends: fragments of one message that is said to be as long as one may be
    let mut endless = plain(scene.at);
    let mut first = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    first.resize(5 + 0x4000, 0);
    let next = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    endless.write_all(&first).unwrap();
    while endless.write_all(&next).is_ok() {}
    scene.until("tollgate_connections_closed_total{code=\"4\"} 2");
    // and one that drips has the time of all strangers
    let mut slow = plain(scene.at);
    slow.write_all(&first[..100]).unwrap();
    scene.until("tollgate_connections{channel=\"10\"} 1");
    scene.clock.advance_us(61_000_000);
    scene.until("tollgate_connections_closed_total{code=\"17\"} 1");
    scene.until("tollgate_connections_unidentified 0");
}

#[test]
fn a_client_certificate_is_good_for_its_own_ident() {
    let scene = Scene::new(TlsItem {
        client_ca: "clients.pem".to_owned(),
        client_required: true,
        ..TlsItem::default()
    });
    let of = |name| scene.clients.issue(&[], &[(DnType::CommonName, name)]);
    assert!(scene.admits(Some(&of(IDENT))));
    assert!(!scene.admits(Some(&of("356307042441014"))));
    scene.until("tollgate_connections_closed_total{code=\"14\"} 1");
    // none, and one of an authority that nobody trusts
    assert!(!scene.admits(None));
    scene.until("tollgate_tls_handshakes_total{outcome=\"certificate\"} 1");
    let foreign = Authority::new("others").issue(&[], &[(DnType::CommonName, IDENT)]);
    assert!(!scene.admits(Some(&foreign)));
    scene.until("tollgate_connections_closed_total{code=\"14\"} 3");
}

#[test]
fn a_client_certificate_is_good_for_the_devices_of_its_account_and_none_need_be_shown() {
    let scene = Scene::new(TlsItem {
        client_ca: "clients.pem".to_owned(),
        client_binds: ClientBinds::Account,
        ..TlsItem::default()
    });
    let of = |unit| {
        let unit = (DnType::OrganizationalUnitName, unit);
        scene.clients.issue(&[], &[unit])
    };
    // the device is account 3's, which is below 2 and 1; 4 is beside them
    for (unit, admitted) in [("3", true), ("2", true), ("4", false), ("x", false)] {
        assert_eq!(scene.admits(Some(&of(unit))), admitted, "{unit}");
        // a refused login is answered once in ten seconds
        scene.clock.advance_us(11_000_000);
    }
    assert!(scene.admits(None), "client_required is not set");
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not_and_connections_stay() {
    let scene = Scene::new(TlsItem::default());
    let mut before = scene.call(None, &rustls::version::TLS13);
    exchange(&mut before, &login(IDENT), &[1]);
    assert!(scene.channels().read_certificates().is_empty(), "no change");
    let renewed = scene.renew();
    let read = scene.channels().read_certificates();
    assert!(matches!(read[..], [(TELTONIKA, Ok(()))]), "{read:?}");
    exchange(&mut before, &packet(&[at(1)]), &taken(1));
    let shown = |scene: &Scene| {
        let mut tracker = scene.call(None, &rustls::version::TLS13);
        // an ident that nobody has: who is connected stays so
        tracker.write_all(&login("356307042441099")).unwrap();
        tracker.conn.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(&scene), renewed);
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    scene.write("gps.key", &other_key);
    let read = scene.channels().read_certificates();
    let [(_, Err(error))] = &read[..] else {
        panic!("{read:?}");
    };
    assert!(error.to_string().contains("is not the key of"), "{error}");
    assert_eq!(shown(&scene), renewed, "the one before stays in force");
    exchange(&mut before, &packet(&[at(2)]), &taken(1));
}

#[test]
fn what_cannot_be_used_is_told_by_file_and_names_outside_of_the_folder_are_refused() {
    let scene = Scene::new(TlsItem::default());
    let folder = Some(scene.folder.path());
    let said = |certificate: &str, source: Source, folder| {
        let mut item = scene.item.clone();
        item.stamp.source = source;
        item.tls.as_mut().unwrap().certificate = certificate.to_owned();
        check(&item, folder).map_err(|error| match error {
            TlsError::NoFolder => "no folder",
            TlsError::Outside(_) => "outside",
            TlsError::Read { .. } => "unreadable",
            TlsError::Content { .. } => "no certificate",
        })
    };
    let absolute = scene.folder.path().join("gps.pem");
    let absolute = absolute.to_str().unwrap();
    scene.write("empty.pem", "");
    for (certificate, source, folder, expected) in [
        ("gps.pem", Source::Api, folder, Ok(())),
        ("gps.pem", Source::File, folder, Ok(())),
        (absolute, Source::File, folder, Ok(())),
        (absolute, Source::Api, folder, Err("outside")),
        ("../gps.pem", Source::Api, folder, Err("outside")),
        ("a/../gps.pem", Source::Api, folder, Err("outside")),
        ("gps.pem", Source::Api, None, Err("no folder")),
        ("gone.pem", Source::Api, folder, Err("unreadable")),
        ("empty.pem", Source::Api, folder, Err("no certificate")),
        ("gps.key", Source::Api, folder, Err("no certificate")),
    ] {
        let told = said(certificate, source, folder);
        assert_eq!(told, expected, "{certificate} {source:?}");
    }
}
