//! Server processes under measurement: started, timed by the kernel's own accounts, ended.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

use crate::generator::ident;

/// All servers are on this core, where there is one.
pub(crate) const SERVER_CORE: usize = 1;
/// All trackers are on this one.
pub(crate) const GENERATOR_CORE: usize = 0;

/// Of util-linux.
pub(crate) const TASKSET: &str = "/usr/bin/taskset";

/// The ports of the gateways' channels.
const PORTS: Range<u16> = 24_300..24_400;

/// A server in a process of its own. Ended when dropped.
pub(crate) struct Server {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// Where it listens: its channels in their order.
    pub(crate) addresses: Vec<SocketAddr>,
    child: Child,
    counted: Cell<f64>,
    _data: Option<TempDir>,
}

impl Server {
    /// The server that does nothing.
    pub(crate) fn null() -> io::Result<Self> {
        Self::null_of(Pages::Any)
    }

    /// The same with such pages.
    pub(crate) fn null_of(pages: Pages) -> io::Result<Self> {
        let mut command = on_core(SERVER_CORE, &std::env::current_exe()?);
        command.arg("--null");
        pages.tell(&mut command);
        Self::start("do nothing", command, |line| line.parse().ok(), 1, None)
    }

    /// The gateway, set up like this.
    pub(crate) fn gateway(setup: &Setup) -> io::Result<Self> {
        Self::gateway_of("tollgate", Path::new(env!("CARGO_BIN_EXE_tollgate")), setup)
    }

    /// Another build of the gateway.
    pub(crate) fn gateway_of(
        name: &'static str,
        program: &Path,
        setup: &Setup,
    ) -> io::Result<Self> {
        let data = match setup.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let config = data.path().join("tollgate.toml");
        let text = setup.config(&data.path().join("data"));
        std::fs::write(&config, text.map_err(io::Error::other)?)?;
        let mut command = on_core(SERVER_CORE, program);
        command
            .args(["serve", "--config"])
            .arg(&config)
            .env("TOLLGATE_LOG", "warn");
        setup.pages.tell(&mut command);
        let address = |line: &str| {
            let (_, address) = line.split_once(") listens on ")?;
            line.starts_with("channel ").then_some(())?;
            address.trim().parse().ok()
        };
        let list = data.path().join("others.csv");
        let data_dir = data.path().join("data");
        let server = Self::start(name, command, address, setup.channels.len(), Some(data))?;
        if setup.others > 0 {
            std::fs::write(&list, setup.list_of_others().map_err(io::Error::other)?)?;
            let imported = Command::new(program)
                .args(["import", "devices", "--account", "l0", "--type", "h02"])
                .arg("--data")
                .args([&data_dir, &list])
                .stdout(Stdio::null())
                .status()?;
            if !imported.success() {
                return Err(io::Error::other("the devices that never call: no import"));
            }
        }
        Ok(server)
    }

    /// Starts `command`, on whose standard error `address` finds `count` times where it listens; with it
    /// goes its folder, if that is given.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        address: impl Fn(&str) -> Option<SocketAddr>,
        count: usize,
        data: Option<TempDir>,
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
        let mut addresses = Vec::new();
        while let Some(line) = lines.next().transpose()? {
            match address(&line) {
                Some(address) => addresses.push(address),
                None => eprintln!("{name}: {line}"),
            }
            if addresses.len() == count {
                // what it still says must be read, or it would wait for that
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self {
                    name,
                    addresses,
                    child,
                    counted: Cell::new(0.0),
                    _data: data,
                });
            }
        }
        child.wait()?;
        Err(io::Error::other(format!(
            "the {name} server ended before it told its address"
        )))
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> SocketAddr {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(unspecified)
    }

    /// The CPU time, user and system, that it has used since this was asked last, in seconds: what it
    /// does when nobody looks is part of the next slice.
    pub(crate) fn cpu_since_last(&self) -> io::Result<f64> {
        let now = self.cpu_seconds()?;
        Ok((now - self.counted.replace(now)).max(0.0))
    }

    /// The CPU time that it has used so far, user and system, in seconds.
    fn cpu_seconds(&self) -> io::Result<f64> {
        let mut nanoseconds = 0u64;
        for thread in self.threads()? {
            // a thread that has just ended is none
            let Ok(stat) = std::fs::read_to_string(thread.join("schedstat")) else {
                continue;
            };
            let running = stat
                .split_whitespace()
                .next()
                .and_then(|field| field.parse().ok());
            nanoseconds += running.unwrap_or(0u64);
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// The kernel's folders of its threads, named by their ids.
    pub(crate) fn threads(&self) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id()))?
            .map(|task| Ok(task?.path()))
            .collect()
    }

    /// The memory of its own that it holds, in bytes, counted by the kernel page by page.
    pub(crate) fn memory_bytes(&self) -> io::Result<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let anonymous = rollup.lines().find_map(|line| {
            line.strip_prefix("Anonymous:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        });
        anonymous
            .map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("no Anonymous"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// `program` on a core of its own, where the machine has two and util-linux is there.
pub(crate) fn on_core(core: usize, program: impl AsRef<OsStr>) -> Command {
    if pins() {
        let mut command = Command::new(TASKSET);
        command.args(["-c", &core.to_string()]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Has the machine cores to share out, and what does it?
pub(crate) fn pins() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores > 1 && Path::new(TASKSET).exists()
}

/// Ports that no other gateway of this run has, while there are few.
fn ports(count: usize) -> Range<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let mut first = NEXT.load(Ordering::Relaxed);
    if first + count > PORTS.end {
        first = PORTS.start;
    }
    NEXT.store(first + count, Ordering::Relaxed);
    first..first + count
}

/// The pages that a server's allocator asks the kernel for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pages {
    /// Huge ones where it can have them.
    Any,
    /// None that is huge, and none kept that is free: each of the first is resident whole as soon as a
    /// byte of it is, and what a connection holds would be seen in steps of 2 MiB.
    Small,
}

impl Pages {
    fn tell(self, command: &mut Command) {
        if let Self::Small = self {
            command.env("MIMALLOC_ALLOW_THP", "0");
            // at once: else what the start has used goes back while connections are counted
            command.env("MIMALLOC_PURGE_DELAY", "0");
        }
    }
}

/// How a gateway is set up: one worker, a chain of five accounts with a limit at each level.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Registered trackers, those with the numbers from 0 on.
    pub(crate) trackers: usize,
    /// Registered devices that never call, more than a configuration file may name.
    pub(crate) others: usize,
    /// Accounts of the lowest level, which own the trackers in turn.
    pub(crate) leaves: usize,
    /// The protocols of its channels.
    pub(crate) channels: Vec<&'static str>,
    /// Messages a minute of each of those accounts.
    pub(crate) messages: u64,
    /// Lines of the section `bounds`.
    pub(crate) bounds: &'static str,
    /// The channels' raw traffic is kept.
    pub(crate) packets: bool,
    /// Its pages.
    pub(crate) pages: Pages,
    /// Where its data are, if not in the temporary folder.
    pub(crate) folder: Option<&'static str>,
}

impl Setup {
    /// For so many trackers.
    pub(crate) fn new(trackers: usize) -> Self {
        Self {
            trackers,
            others: 0,
            leaves: 1,
            channels: vec!["teltonika"],
            messages: 4_000_000_000,
            bounds: "",
            packets: false,
            pages: Pages::Any,
            folder: None,
        }
    }

    /// The devices that never call, as `tollgate import` takes them.
    fn list_of_others(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from("ident,name\n");
        for index in 0..self.others {
            writeln!(text, "{},{index}", 1_000_000_000 + index)?;
        }
        Ok(text)
    }

    fn config(&self, data: &Path) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let out = &mut text;
        writeln!(out, "devices = [")?;
        for index in 0..self.trackers {
            let (leaf, ident) = (index % self.leaves, ident(index));
            write!(out, "{{name=\"t{index}\",account=\"l{leaf}\",")?;
            writeln!(out, "protocol=\"teltonika\",ident=\"{ident}\"}},")?;
        }
        writeln!(out, "]\n")?;
        writeln!(out, "[gateway]\ndata_dir = \"{}\"", data.display())?;
        writeln!(out, "host = \"127.0.0.1\"\nlisten = \"127.0.0.1\"")?;
        let ports = ports(self.channels.len());
        writeln!(
            out,
            "ports = \"{}-{}\"\nworkers = 1\n",
            ports.start,
            ports.end - 1
        )?;
        writeln!(out, "[http]\nlisten = \"127.0.0.1:0\"\n")?;
        writeln!(out, "[bounds]\nunidentified_per_source = 20000")?;
        writeln!(out, "account_logins = 1000000\n{}\n", self.bounds)?;
        for level in 0..4 {
            writeln!(out, "[[accounts]]\nname = \"level{level}\"")?;
            if level > 0 {
                writeln!(out, "parent = \"level{}\"", level - 1)?;
            }
            writeln!(out, "limit = \"cap{level}\"\n")?;
        }
        for level in 0..5 {
            let owner = if level == 0 { 0 } else { level - 1 };
            let messages = if level == 4 {
                self.messages
            } else {
                4_000_000_000
            };
            writeln!(
                out,
                "[[limits]]\nname = \"cap{level}\"\naccount = \"level{owner}\""
            )?;
            writeln!(
                out,
                "channel_traffic = 200000000000\nchannel_messages = {messages}\n"
            )?;
        }
        for leaf in 0..self.leaves {
            writeln!(out, "[[accounts]]\nname = \"l{leaf}\"")?;
            writeln!(out, "parent = \"level3\"\nlimit = \"cap4\"\n")?;
        }
        for (index, protocol) in self.channels.iter().enumerate() {
            writeln!(
                out,
                "[[channels]]\nname = \"channel {index}\"\naccount = \"level0\""
            )?;
            writeln!(out, "protocol = \"{protocol}\"")?;
            writeln!(out, "keep_packets = {}\n", self.packets)?;
        }
        Ok(text)
    }
}
