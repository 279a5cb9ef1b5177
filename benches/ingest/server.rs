//! Server processes under measurement: started, timed by the kernel's own accounts, ended.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A server in a process of its own. Ended when dropped.
pub(crate) struct Server {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts `command`, which prints `prefix` and its address on a line of its standard error.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        prefix: &str,
    ) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child
            .stderr
            .take()
            .ok_or_else(|| io::Error::other("no standard error"))?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next().transpose()? {
            if let Some(address) = line.strip_prefix(prefix) {
                let address = address.trim().parse().map_err(io::Error::other)?;
                // what it still says must be read, or it would wait for that
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self {
                    name,
                    address,
                    child,
                });
            }
            eprintln!("{name}: {line}");
        }
        child.wait()?;
        Err(io::Error::other(format!(
            "the {name} server ended before it told its address"
        )))
    }

    /// The CPU time that it has used so far, user and system, in seconds.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let mut nanoseconds = 0u64;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let running = stat
                .split_whitespace()
                .next()
                .and_then(|field| field.parse().ok());
            nanoseconds += running.unwrap_or(0u64);
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn memory_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let anonymous = status.lines().find_map(|line| {
            line.strip_prefix("RssAnon:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        });
        anonymous
            .map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("no RssAnon"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
