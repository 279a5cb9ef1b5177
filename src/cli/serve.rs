//! `tollgate serve`: start, wait for a signal: read the configuration again, or drain.

use super::certificates::Certificates;
use super::data::{SOCKET, load, mistakes};
use super::gateway::{Gateway, STANDSTILL, Settings, bind_hint};
use super::systemd::{self, Notify};
use super::{Exit, Failure, local, runtime, say};
use crate::api;
use crate::config::Config;
use crate::control::Control;
use crate::metrics::{Page, Source, names};
use clap::{Args as ClapArgs, ValueEnum};
use std::future::IntoFuture as _;
use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

/// Open files that are not for trackers, or half of all if those are fewer: the journal, the items,
/// the API.
const FILES_KEPT_FREE: usize = 256;
/// Where fewer connections than these are taken the operator is warned.
const CONNECTIONS_FEW: usize = 1000;
/// How often the metrics page keeps house.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often the files of certificates are looked at for a change.
const CERTIFICATES_LOOK: Duration = Duration::from_mins(1);

/// Runs the gateway until SIGTERM or SIGINT: then no new connections, what was received becomes
/// durable and is answered, exit 0. SIGHUP reads the configuration file again.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The configuration file; `tollgate config default` prints one with every option
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: PathBuf,
    /// Another data directory than the file's
    #[arg(long, value_name = "DIR", env = "TOLLGATE_DATA")]
    data: Option<PathBuf>,
    /// Start without what is damaged in the middle of the journal: those entries, their messages
    /// and their charges, are lost for good. Entries that say so stand in their place, and copies
    /// of the damaged files stay beside them (`tollgate verify` tells beforehand what is damaged)
    #[arg(long)]
    give_up_damaged: bool,
    /// How log lines on standard error look; which there are says the variable `TOLLGATE_LOG`
    /// (`info`, `debug`, `tollgate::channel=debug`)
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut config = load(&args.config)?;
    if let Some(data) = &args.data {
        config.gateway.data_dir.clone_from(data);
    }
    log_to_stderr(args.log_format);
    let files = raise_file_limit();
    let mut settings = Settings::of(&config);
    keep_files_free(files, &mut settings.bounds.connections_max);
    settings.journal.give_up_damaged = args.give_up_damaged;
    runtime()?.block_on(serve(&args.config, &config, settings))
}

async fn serve(file: &Path, config: &Config, mut settings: Settings) -> Result<(), Failure> {
    let data = config.gateway.data_dir.clone();
    let notify = Notify::from_env();
    let (sockets, http) = given(config);
    let http = http_listener(config.http.listen, http).await?;
    settings.sockets = sockets;
    #[cfg(feature = "otel")]
    let traces = settings.traces.clone();
    let dir = data.clone();
    let opened = tokio::task::spawn_blocking(move || Gateway::open(&dir, settings));
    let gateway = opened
        .await
        .map_err(|error| Failure::new(Exit::Software, error))??;
    let control = Arc::clone(&gateway.control);
    let (declared, declaring) = (config.clone(), file.to_owned());
    let reconciled = tokio::task::spawn_blocking(move || declare(&control, &declaring, &declared));
    reconciled
        .await
        .map_err(|error| Failure::new(Exit::Software, error))??;

    let socket = local_socket(&data)?;
    // before anything is announced: a signal that comes from now on drains
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    let mut hang_up = on_signal(SignalKind::hangup())?;
    let listening = gateway.listen()?;
    let public = api::router(gateway.state());
    #[cfg(feature = "otel")]
    let public = match &traces {
        Some(traces) => traces.around(public),
        None => public,
    };
    let http_at = http
        .local_addr()
        .map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let served = axum::serve(
        http,
        public.into_make_service_with_connect_info::<SocketAddr>(),
    );
    let on_tcp = tokio::spawn(served.into_future());
    let on_socket = tokio::spawn(axum::serve(socket, local::of(&gateway)).into_future());
    let metrics = Arc::clone(&gateway.metrics);
    metrics.add_source(Arc::new(LogLines));
    let upkeep = tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            metrics.run_upkeep();
        }
    });
    let api_upkeep = tokio::spawn(api::upkeep(gateway.state()));
    let read = gateway.certificates();
    read.tell_age();
    let certificates = tokio::spawn(look_at_certificates(read.clone()));
    announce(&gateway, &listening, http_at, &data);
    notify.ready();

    let mut alive = systemd::watchdog().map(tokio::time::interval);
    let mut running = config.clone();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                notify.reloading();
                let reload = Reload {
                    file: file.to_owned(),
                    running: running.clone(),
                    control: Arc::clone(&gateway.control),
                    certificates: read.clone(),
                };
                if let Some(config) = reload.run().await {
                    running = config;
                }
                notify.ready();
            }
            // what stands still is not told to be alive: the manager starts it anew
            () = due(&mut alive) => if gateway.silent_for() < STANDSTILL {
                notify.alive();
            },
        }
    }
    notify.stopping();
    say(&"draining: no new connections, what was received becomes durable and is answered");
    on_tcp.abort();
    on_socket.abort();
    upkeep.abort();
    api_upkeep.abort();
    certificates.abort();
    let cut_off = gateway.stop(config.gateway.drain.0).await;
    #[cfg(feature = "otel")]
    if let Some(traces) = traces {
        traces.finish().await;
    }
    if let Err(error) = std::fs::remove_file(data.join(SOCKET)) {
        tracing::debug!(%error, "the local socket was gone already");
    }
    match cut_off {
        0 => say(&"stopped"),
        cut_off => say(&format_args!(
            "stopped; {cut_off} connections were cut off at the deadline"
        )),
    }
    Ok(())
}

/// The sockets that were open before: those of channels, and that of `[http]`.
fn given(config: &Config) -> (Vec<std::net::TcpListener>, Option<std::net::TcpListener>) {
    let (mut sockets, mut http) = (Vec::new(), None);
    for (name, socket) in systemd::sockets() {
        let at = socket.local_addr();
        tracing::debug!(name, ?at, "a socket was open before");
        if at.is_ok_and(|at| at.port() == config.http.listen.port()) {
            http = Some(socket);
        } else {
            sockets.push(socket);
        }
    }
    (sockets, http)
}

async fn http_listener(
    at: SocketAddr,
    given: Option<std::net::TcpListener>,
) -> Result<TcpListener, Failure> {
    let listener = match given {
        Some(given) => given
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(given)),
        None => TcpListener::bind(at).await,
    };
    listener.map_err(|error| {
        Failure::new(Exit::Unavailable, format_args!("http.listen {at}: {error}")).hint(bind_hint(
            &error,
            "end the program that has the port (another gateway? `ss -ltnp` shows it), or set another address in [http]",
        ))
    })
}

/// The next time of an interval; without one there is none.
async fn due(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => _ = interval.tick().await,
        None => std::future::pending().await,
    }
}

/// The configuration is read again.
struct Reload {
    file: PathBuf,
    running: Config,
    control: Arc<Control>,
    certificates: Certificates,
}

impl Reload {
    /// Makes the items what the file says now, and reads certificates again. A file that cannot be is
    /// told with all its mistakes, and nothing is changed. Gives back what is in force.
    async fn run(self) -> Option<Config> {
        let done = tokio::task::spawn_blocking(move || self.apply()).await;
        match done {
            Ok(Ok(config)) => {
                say(&"reloaded: the items are what the configuration file says");
                Some(config)
            }
            Ok(Err(failure)) => {
                say(&format_args!(
                    "not reloaded, nothing was changed: {failure}"
                ));
                None
            }
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read again");
                None
            }
        }
    }

    fn apply(self) -> Result<Config, Failure> {
        let mut config = load(&self.file)?;
        declare(&self.control, &self.file, &config)?;
        self.certificates.read_again();
        // what is read at the start only stays in force, and stays told
        let sections = [
            ("[gateway]", config.gateway != self.running.gateway),
            ("[http]", config.http != self.running.http),
            ("[bounds]", config.bounds != self.running.bounds),
            ("[journal]", config.journal != self.running.journal),
            ("[packets]", config.packets != self.running.packets),
            ("[traces]", config.traces != self.running.traces),
        ];
        for (section, _) in sections.iter().filter(|(_, changed)| *changed) {
            say(&format_args!(
                "{section} has changed: that takes effect at the next start"
            ));
        }
        config.gateway = self.running.gateway;
        config.http = self.running.http;
        config.bounds = self.running.bounds;
        config.journal = self.running.journal;
        config.packets = self.running.packets;
        config.traces = self.running.traces;
        Ok(config)
    }
}

/// Each connection is an open file, and a shell's soft limit is for programs that have few: takes all
/// that the hard limit allows.
///
/// Gives back how many there may be; none: as many as there are.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => tracing::debug!(?before, now = ?limit.maximum, "open files allowed"),
        Err(error) => {
            tracing::warn!(%error, ?before, "the limit of open files could not be raised: one a connection");
            return before;
        }
    }
    limit.current
}

/// Trackers do not get the last files: a journal that cannot open its next segment takes nothing more
/// until it can.
fn keep_files_free(files: Option<u64>, connections_max: &mut usize) {
    let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else {
        return;
    };
    let most = files - FILES_KEPT_FREE.min(files / 2);
    if *connections_max > most {
        if most < CONNECTIONS_FEW {
            tracing::warn!(
                files,
                most,
                "so few connections are taken, each is an open file: raise their limit (`ulimit -n`, LimitNOFILE)"
            );
        } else {
            tracing::info!(
                files,
                most,
                "so many connections are taken at most: each is an open file"
            );
        }
        *connections_max = most;
    }
}

/// Certificates that are renewed are used without anybody's word.
async fn look_at_certificates(certificates: Certificates) {
    let mut look = tokio::time::interval(CERTIFICATES_LOOK);
    // they have just been read
    look.tick().await;
    loop {
        look.tick().await;
        let certificates = certificates.clone();
        let read = tokio::task::spawn_blocking(move || certificates.read_again());
        if let Err(error) = read.await {
            tracing::error!(%error, "the certificates could not be looked at");
        }
    }
}

/// One line for each address, in a form that a script can read.
fn announce(
    gateway: &Gateway,
    listening: &[(crate::ids::ChannelId, SocketAddr)],
    http: SocketAddr,
    data: &Path,
) {
    for (id, address) in listening {
        let name = gateway
            .control
            .registry()
            .channel(*id)
            .map_or_else(String::new, |channel| {
                let state = channel.state.load();
                let protocols: Vec<&str> = state
                    .protocols
                    .iter()
                    .filter_map(|number| Some(protocols::by_number(*number)?.info.name))
                    .collect();
                format!("{} ({})", state.item.name, protocols.join(", "))
            });
        say(&format_args!("channel {id} {name} listens on {address}"));
    }
    say(&format_args!("http listens on {http}"));
    say(&format_args!("ready: data in {}", data.display()));
}

/// Makes the items of the file what the file says.
fn declare(control: &Control, file: &Path, config: &Config) -> Result<(), Failure> {
    let written = control
        .declare(config)
        .map_err(|errors| mistakes(file, &errors))?;
    if written > 0 {
        tracing::info!(written, "items of the configuration file were written");
    }
    Ok(())
}

/// The socket in the data directory, for its owner only.
fn local_socket(data: &Path) -> Result<UnixListener, Failure> {
    let path = data.join(SOCKET);
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Io,
            format_args!("local socket {}: {error}", path.display()),
        )
    };
    // the data directory is ours alone by now, so a socket that is there is a dead process's
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(&path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

fn on_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Software, error))
}

fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TOLLGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        // a file or a journal is not coloured
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| LogLines);
    let set = match format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = set {
        say(&format_args!("no log: {error}"));
    }
}

/// Log lines that could not be written.
static LOG_LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// Standard error, whatever becomes of it: a log that nobody can write (a full disk, a reader that has
/// gone) is counted and stops nothing.
struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if std::io::stderr().write_all(line).is_err() {
            LOG_LINES_LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Source for LogLines {
    fn write(&self, page: &mut Page) {
        let lost = LOG_LINES_LOST.load(Ordering::Relaxed);
        page.single(&names::LOG_LINES_LOST, lost);
    }
}
