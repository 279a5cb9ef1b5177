//! The gateway as a process of its own: this same binary, `serve`, as a user would start it.

use crate::cli::{Exit, Failure};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// A gateway that has not said that it is ready after this time has not started.
const START_WAIT: Duration = Duration::from_secs(20);
/// A gateway that was told to stop has so long: its drain and some.
const STOP_WAIT: Duration = Duration::from_secs(15);
/// The last lines of its standard error that are kept for telling why it ended.
const LINES_KEPT: usize = 12;
/// Where ports are looked for: below what systems give to calling sockets.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// A running gateway. Dropping it ends the process at once.
pub(super) struct Gateway {
    process: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Where `/metrics` and health are.
    pub(super) http: SocketAddr,
    /// How long it took until it was ready.
    pub(super) took: Duration,
}

/// Writes a configuration: everything on this machine only, ports that are free now.
pub(super) fn configure(data: &Path, ports: u16) -> Result<PathBuf, Failure> {
    let first = free_ports(ports)
        .ok_or_else(|| Failure::new(Exit::Unavailable, "no free ports from 20000 to 29999"))?;
    let last = first + (ports - 1);
    // a JSON string is a TOML string
    let dir = serde_json::Value::from(data.display().to_string());
    let text = format!(
        "# written by `tollgate demo`\n\
         [gateway]\n\
         data_dir = {dir}\n\
         host = \"127.0.0.1\"\n\
         listen = \"127.0.0.1\"\n\
         ports = \"{first}-{last}\"\n\
         drain = \"5s\"\n\
         move_interval = \"0s\"\n\
         [http]\n\
         listen = \"127.0.0.1:0\"\n"
    );
    let file = data.join("demo.toml");
    std::fs::write(&file, text)
        .map_err(|error| Failure::new(Exit::Io, format_args!("{}: {error}", file.display())))?;
    Ok(file)
}

/// The first of so many neighbouring ports that nobody listens on.
fn free_ports(count: u16) -> Option<u16> {
    let mut free = 0;
    // another demo begins to look elsewhere
    let start = u32::from(*PORTS.start()) + std::process::id() % 9000;
    for port in u16::try_from(start).ok()?..=*PORTS.end() {
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        free = if is_free { free + 1 } else { 0 };
        if free == count {
            return Some(port - (count - 1));
        }
    }
    None
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(config: &Path) -> Result<Self, Failure> {
        let begun = Instant::now();
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Software, format_args!("this program: {error}")))?;
        let mut process = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env_remove("TOLLGATE_DATA")
            .env("TOLLGATE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is the demo's: it stops the gateway in order
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::new(Exit::Software, format_args!("serve: {error}")))?;
        let stderr = process.stderr.take().expect("it was asked for");
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, mut told) = watch::channel(None);
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut http = None;
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                if let Some(address) = line.strip_prefix("http listens on ") {
                    http = address.trim().parse::<SocketAddr>().ok();
                }
                if line.starts_with("ready:") {
                    tell.send_replace(http);
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LINES_KEPT {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        let ready = timeout(START_WAIT, told.wait_for(Option::is_some)).await;
        let http = match ready {
            Ok(Ok(http)) => *http,
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(http) = http else {
            drop(process.start_kill());
            return Err(Failure::new(
                Exit::Unavailable,
                format_args!("the gateway did not start:\n{}", said(&lines)),
            ));
        };
        Ok(Self {
            process,
            lines,
            http,
            took: begun.elapsed(),
        })
    }

    /// Kills it with signal 9, in the middle of whatever it does.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.process
            .kill()
            .await
            .map_err(|error| Failure::new(Exit::Software, format_args!("kill -9: {error}")))
    }

    /// Stops it as systemd would, and says whether it ended with 0.
    pub(super) async fn stop(mut self) -> Result<bool, Failure> {
        let pid = self
            .process
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // one that ended by itself is not reaped yet: the signal finds it all the same
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|error| Failure::new(Exit::Software, error))?;
        }
        let ended = timeout(STOP_WAIT, self.process.wait()).await;
        match ended {
            Ok(Ok(status)) => Ok(status.success()),
            Ok(Err(error)) => Err(Failure::new(Exit::Software, error)),
            Err(_) => Ok(false),
        }
    }

    /// Its end if it has ended, which it should not have.
    pub(super) fn ended(&mut self) -> Option<Failure> {
        let status = self.process.try_wait().ok().flatten()?;
        let said = said(&self.lines);
        Some(Failure::new(
            Exit::Unavailable,
            format_args!("the gateway ended by itself ({status}):\n{said}"),
        ))
    }

    /// The sum of a metric over its series.
    pub(super) async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let page = page(self.http, "/metrics")
            .await
            .map_err(|error| Failure::new(Exit::Unavailable, format_args!("/metrics: {error}")))?;
        Ok(page
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let rest = rest.strip_prefix(' ').or_else(|| {
                    rest.strip_prefix('{')
                        .and_then(|rest| Some(rest.rsplit_once("} ")?.1))
                })?;
                rest.trim().parse::<f64>().ok()
            })
            .sum())
    }
}

fn said(lines: &Mutex<VecDeque<String>>) -> String {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// A page of the gateway's HTTP.
async fn page(at: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let call = format!("GET {path} HTTP/1.0\r\nhost: {at}\r\n\r\n");
    stream.write_all(call.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_found_are_free_together() {
        let first = free_ports(3).expect("there are some");
        assert!(PORTS.contains(&first) && PORTS.contains(&(first + 2)));
    }
}
