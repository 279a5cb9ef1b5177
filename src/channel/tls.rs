//! TLS of a channel: its certificate, read from files and read again without a restart, and the
//! byte stream of a connection that speaks it.
//!
//! The driver does not know of it: `TlsWire` is a [`Wire`] like a plain socket, whose first reads
//! are the handshake. So a handshake stands under everything that a connection without an admitted
//! device stands under (the identify deadline, the bounds on strangers, the drain), and under
//! [`HANDSHAKE_BYTES_MAX`]. Its bytes are nobody's; what is counted and charged of a connection is
//! what is inside TLS.
//!
//! It refuses versions before 1.2, data before the handshake is done, and renegotiation. What a
//! client certificate is worth is `subject`'s and `settle`'s to say. Sessions are
//! resumed by tickets alone, so nothing is kept for those who have gone; a certificate that is read
//! anew ends the tickets of the one before.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::metrics::names;
use crate::registry::items::{ChannelItem, Source};
use crate::router::CloseCode;

use super::bounds::{CERTIFICATE_BYTES_MAX, HANDSHAKE_BYTES_MAX};
use super::connection::Wire;
use super::subject::Subject;
use super::tally::Tally;
use super::validity::Validity;
use super::worker::Worker;

/// What is wrong with a channel's certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Channels made through the API may name certificates of one folder only, and there is none.
    #[error("this gateway has no folder of certificates: set gateway.certificates")]
    NoFolder,
    /// It names something outside of that folder.
    #[error("{0}: is not within the folder of certificates")]
    Outside(String),
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Where a channel's certificate, key and authority are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_required: bool,
}

impl Files {
    /// Of a channel; none: it does not speak TLS.
    fn of(channel: &ChannelItem, folder: Option<&Path>) -> Result<Option<Self>, TlsError> {
        let Some(tls) = &channel.tls else {
            return Ok(None);
        };
        let find = |name: &str| found(name, channel.stamp.source, folder);
        Ok(Some(Self {
            certificate: find(&tls.certificate)?,
            key: find(&tls.key)?,
            client_ca: match tls.client_ca.as_str() {
                "" => None,
                name => Some(find(name)?),
            },
            client_required: tls.client_required,
        }))
    }

    /// Their content, to be compared.
    fn read(&self) -> Result<Content, TlsError> {
        Ok(Content {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

/// The file of a name. Who writes the configuration file may name any; who has a token must not be
/// able to look around in this machine.
fn found(name: &str, source: Source, folder: Option<&Path>) -> Result<PathBuf, TlsError> {
    let path = Path::new(name);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    match (source, folder) {
        (Source::File, None) => Ok(path.to_owned()),
        // an absolute name stands for itself
        (Source::File, Some(folder)) => Ok(folder.join(path)),
        (Source::Api, None) => Err(TlsError::NoFolder),
        (Source::Api, Some(folder)) if path.components().all(plain) => Ok(folder.join(path)),
        (Source::Api, Some(_)) => Err(TlsError::Outside(name.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let most = CERTIFICATE_BYTES_MAX;
    file.take(most + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > most {
        return Err(wrong(path, format_args!("is longer than {most} bytes")));
    }
    Ok(content)
}

fn wrong(path: &Path, problem: impl fmt::Display) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Content {
    fn digest(&self) -> blake3::Hash {
        let mut digest = blake3::Hasher::new();
        let parts = [&self.certificate, &self.key];
        for part in parts.into_iter().chain(&self.client_ca) {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize()
    }

    fn config(&self, files: &Files) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| wrong(&files.key, format_args!("no private key in PEM: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| wrong(&files.certificate, error))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(content)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path, content)? {
                    roots.add(root).map_err(|error| wrong(path, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if files.client_required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier.build().map_err(|error| wrong(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let of = files.certificate.display();
                    wrong(&files.key, format_args!("is not the key of {of}"))
                }
                error => wrong(&files.certificate, error),
            })?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| wrong(&files.certificate, error))?;
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

impl Content {
    /// Of the certificate that is shown, the first.
    fn validity(&self) -> Option<Validity> {
        let first = CertificateDer::pem_slice_iter(&self.certificate).next();
        Validity::of(&first?.ok()?)
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(path, "no certificate in PEM in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(path, format_args!("no certificate in PEM: {error}"))),
    }
}

/// Would this channel's certificate do? Reads its files.
pub fn check(channel: &ChannelItem, folder: Option<&Path>) -> Result<(), TlsError> {
    Terms::read(channel, folder).map(drop)
}

/// On which terms a channel speaks TLS now. Shared by its listeners.
pub(super) struct Terms {
    files: Files,
    digest: ArcSwap<blake3::Hash>,
    config: ArcSwap<ServerConfig>,
    validity: ArcSwap<Option<Validity>>,
}

impl Terms {
    /// Reads a channel's files; none: it does not speak TLS.
    pub(super) fn read(
        channel: &ChannelItem,
        folder: Option<&Path>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::of(channel, folder)? else {
            return Ok(None);
        };
        let content = files.read()?;
        Ok(Some(Arc::new(Self {
            digest: ArcSwap::from_pointee(content.digest()),
            config: ArcSwap::from_pointee(content.config(&files)?),
            validity: ArcSwap::from_pointee(content.validity()),
            files,
        })))
    }

    /// Reads the files again. Says whether they have changed; then handshakes from now on use
    /// them, and those who are connected stay. What cannot be used changes nothing.
    pub(super) fn read_again(&self) -> Result<bool, TlsError> {
        let content = self.files.read()?;
        let digest = content.digest();
        if **self.digest.load() == digest {
            return Ok(false);
        }
        self.config.store(Arc::new(content.config(&self.files)?));
        self.validity.store(Arc::new(content.validity()));
        self.digest.store(Arc::new(digest));
        Ok(true)
    }

    /// From when to when its certificate is valid, if that can be read.
    pub(super) fn validity(&self) -> Option<Validity> {
        **self.validity.load()
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

/// A socket that counts what a handshake receives, and gives no more than one may.
struct Counted {
    stream: TcpStream,
    tally: Rc<Tally>,
    received: usize,
    /// The handshake is done: no bound of its own any more.
    open: bool,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.open {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        if self.received > HANDSHAKE_BYTES_MAX {
            let problem = "a handshake longer than one may be";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = buffer.filled().len() - before;
        self.received += count;
        // whoever it is: nobody who could be made to pay
        self.tally.unidentified.add(count as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

enum State {
    Handshake(Accept<Counted>),
    Open(TlsStream<Counted>),
    /// The handshake has failed.
    Broken,
}

/// A connection that speaks TLS.
pub(super) struct TlsWire {
    worker: Rc<Worker>,
    state: State,
    subject: Option<Box<Subject>>,
}

impl TlsWire {
    pub(super) fn new(
        worker: Rc<Worker>,
        tally: Rc<Tally>,
        stream: TcpStream,
        terms: &Terms,
    ) -> Self {
        let stream = Counted {
            stream,
            tally,
            received: 0,
            open: false,
        };
        Self {
            worker,
            state: State::Handshake(terms.acceptor().accept(stream)),
            subject: None,
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Handshake(accept) => accept.get_ref().map(|counted| &counted.stream),
            State::Open(stream) => Some(&stream.get_ref().0.stream),
            State::Broken => None,
        }
    }

    /// Goes on with the handshake.
    fn shake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Handshake(accept) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let done = ready!(Pin::new(accept).poll(cx));
        self.state = State::Broken;
        let outcome = done.as_ref().map_or_else(outcome_of, |_| "done");
        self.worker.count(&names::TLS_HANDSHAKES, outcome, "");
        let mut stream = done?;
        let (counted, session) = stream.get_mut();
        counted.open = true;
        let shown = session.peer_certificates().and_then(<[_]>::first);
        self.subject = shown.map(|shown| Box::new(Subject::of(shown)));
        self.state = State::Open(stream);
        Poll::Ready(Ok(()))
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Did it fail for what the peer has, or has not, to show?
fn is_about_certificate(error: &io::Error) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

fn outcome_of(error: &io::Error) -> &'static str {
    if is_about_certificate(error) {
        "certificate"
    } else if error.kind() == io::ErrorKind::InvalidData {
        "violation"
    } else {
        "gone"
    }
}

impl Wire for TlsWire {
    fn hung_up(&self) -> bool {
        self.socket().is_some_and(Wire::hung_up)
    }

    fn has_unread(&self) -> bool {
        self.socket().is_some_and(Wire::has_unread)
    }

    fn subject(&mut self) -> Option<Box<Subject>> {
        self.subject.take()
    }

    fn code_of(error: &io::Error) -> CloseCode {
        if is_about_certificate(error) {
            CloseCode::Authentication
        } else if error.kind() == io::ErrorKind::InvalidData {
            CloseCode::Violation
        } else {
            CloseCode::ByTracker
        }
    }
}

impl AsyncRead for TlsWire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.shake(cx))?;
        let State::Open(stream) = &mut this.state else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if stream.get_ref().1.wants_write() {
            // what did not fit into the socket before; it wakes this task if it does not yet, and
            // what breaks here shows in the read
            _ = Pin::new(&mut *stream).poll_flush(cx);
        }
        match ready!(Pin::new(stream).poll_read(cx, buffer)) {
            // a tracker that hangs up without a word of TLS has hung up: frames have their own ends
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for TlsWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            // nothing has been read yet that could be answered: the read goes on with it
            State::Handshake(_) => Poll::Pending,
            State::Open(stream) => Pin::new(stream).poll_write(cx, bytes),
            State::Broken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream).poll_flush(cx),
            State::Handshake(_) | State::Broken => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            // its socket closes with it
            State::Handshake(_) | State::Broken => Poll::Ready(Ok(())),
        }
    }
}
