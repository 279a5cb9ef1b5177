//! The real binary as a process, its API over the socket in the data directory, and trackers that
//! are plain sockets. Every wait here has an end.

mod tracker;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

pub(crate) use tracker::{Heard, Tracker, frame, is_timeout};

/// The binary under test.
pub(crate) const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// Nothing takes longer, on however loaded a machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The ports of a gateway, if nothing else is said.
const PORTS: u16 = 6;

/// The first of the ports that are handed out.
const FIRST_PORT: u16 = 21_000;
/// Each process that tests has one block of ports to itself.
const BLOCKS: u16 = 16;
const BLOCK_PORTS: u16 = 500;

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// The first of so many neighbouring ports that are free and no other test's.
pub(crate) fn free_ports(count: u16) -> u16 {
    assert!(count <= BLOCK_PORTS / 4, "{count} of {BLOCK_PORTS}");
    let block = FIRST_PORT + my_block() * BLOCK_PORTS;
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..10_000 {
        let number = NEXT_PORT.fetch_add(count, Ordering::Relaxed) % BLOCK_PORTS;
        let first = block + number;
        if number + count <= BLOCK_PORTS && (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} neighbouring ports are free from {block} on");
}

/// The block of this process: it holds the lock of a file until it ends, however it ends. Who finds
/// all taken waits.
fn my_block() -> u16 {
    static MINE: OnceLock<(u16, File)> = OnceLock::new();
    let taken = || {
        let take = |block: &u16| {
            let path = std::env::temp_dir().join(format!("tollgate-test-ports.{block}"));
            let made = File::options().append(true).create(true).open(&path);
            // another user's cannot be written, but locked
            let file = made.or_else(|_| File::open(&path)).ok()?;
            file.try_lock().ok().map(|()| (*block, file))
        };
        let begun = Instant::now();
        loop {
            let mut blocks = 0..BLOCKS;
            if let Some(taken) = blocks.find_map(|block| take(&block)) {
                return taken;
            }
            assert!(begun.elapsed() < 10 * LONG, "{BLOCKS} tests run at once");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    MINE.get_or_init(taken).0
}

/// What a gateway is started with.
pub(crate) struct Setup {
    /// The data directory, and the configuration beside it.
    pub(crate) dir: Arc<tempfile::TempDir>,
    /// More of the file: tables and items.
    pub(crate) more: String,
    /// The soft limit of open files that its shell gives it.
    pub(crate) soft_files: Option<u32>,
    /// strace writes there what it does to files.
    pub(crate) trace: Option<PathBuf>,
    /// And the hard one.
    pub(crate) hard_files: Option<u32>,
    /// A listening socket that it gets as its descriptor 3, as from a service manager.
    pub(crate) socket: Option<std::os::fd::OwnedFd>,
    /// More of its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    ports: u16,
    port_count: u16,
}

/// What changes a file or a folder, and what makes that durable.
const TRACED: &str = "trace=openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,\
                      rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// What runs a program under strace.
pub(crate) fn traced(log: &Path) -> Command {
    // as a grandchild, so that the process is the program's own
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "--seccomp-bpf", "-q", "-ttt", "-y", "-xx"]);
    strace.args(["-s", "100000000", "-e", TRACED, "-o"]);
    strace.arg(log);
    strace
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().expect("a directory")),
            more: String::new(),
            soft_files: None,
            trace: None,
            hard_files: None,
            socket: None,
            environment: Vec::new(),
            ports: free_ports(PORTS),
            port_count: PORTS,
        }
    }

    /// The same with an empty directory.
    pub(crate) fn elsewhere(&self) -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().expect("a directory")),
            more: self.more.clone(),
            soft_files: self.soft_files,
            hard_files: None,
            socket: None,
            environment: Vec::new(),
            trace: None,
            ports: self.ports,
            port_count: self.port_count,
        }
    }

    /// Gives it so many ports instead.
    pub(crate) fn with_ports(mut self, count: u16) -> Self {
        (self.ports, self.port_count) = (free_ports(count), count);
        self
    }

    pub(crate) fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self
    }

    /// The first of its ports.
    pub(crate) fn port(&self) -> u16 {
        self.ports
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        let (first, last) = (self.ports, self.ports + self.port_count - 1);
        let data = json!(self.data());
        let text = format!(
            "[gateway]\ndata_dir = {data}\nhost = \"127.0.0.1\"\nlisten = \"127.0.0.1\"\n\
             ports = \"{first}-{last}\"\ndrain = \"5s\"\nmove_interval = \"0s\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n{}\n",
            self.more
        );
        let file = self.dir.path().join("tollgate.toml");
        std::fs::write(&file, text).expect("the file is written");
        file
    }

    /// Starts it; the test ends if it does not come up.
    #[track_caller]
    pub(crate) fn start(&self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err((status, said)) => panic!("it ended with {status}:\n{said}"),
        }
    }

    /// Starts it, or says how it ended.
    pub(crate) fn try_start(&self) -> Result<Gateway, (ExitStatus, String)> {
        let (mut gateway, line) = self.spawn();
        let end = Instant::now() + LONG;
        loop {
            match line.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with("ready:") => return Ok(gateway),
                Ok(line) => gateway.hear(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = gateway.process.wait().expect("it ended");
                    return Err((status, gateway.said()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("not ready:\n{}", gateway.said()),
            }
        }
    }

    /// Starts it and does not wait: it may be anywhere in its start, and gives its lines.
    pub(crate) fn spawn(&self) -> (Gateway, mpsc::Receiver<String>) {
        let config = self.config();
        let mut before = String::new();
        if let Some(files) = self.soft_files {
            write!(before, "ulimit -Sn {files} && ").expect("a string takes all");
        }
        if let Some(files) = self.hard_files {
            write!(before, "ulimit -n {files} && ").expect("a string takes all");
        }
        if self.socket.is_some() {
            before.push_str("exec 3<&0 0</dev/null && export LISTEN_FDS=1 LISTEN_PID=$$ && ");
        }
        let mut process = match &self.trace {
            Some(log) => {
                let mut strace = traced(log);
                strace.arg(TOLLGATE);
                strace
            }
            None if before.is_empty() => Command::new(TOLLGATE),
            None => {
                let mut shell = Command::new("sh");
                let script = format!("{before}exec \"$0\" \"$@\"");
                shell.args(["-c", &script, TOLLGATE]);
                shell
            }
        };
        process.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let input = match &self.socket {
            Some(socket) => Stdio::from(socket.try_clone().expect("a copy")),
            None => Stdio::null(),
        };
        let mut process = process
            .args(["serve", "--config"])
            .arg(config)
            .env_remove("TOLLGATE_DATA")
            .env("TOLLGATE_LOG", "warn")
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is started");
        let stderr = BufReader::new(process.stderr.take().expect("a pipe"));
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, line) = mpsc::channel();
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                writeln!(kept.lock().expect("no panic"), "{line}").expect("a string takes all");
                // nobody listens any more once it is ready
                drop(lines.send(line));
            }
        });
        let gateway = Gateway {
            process,
            said,
            data: self.data(),
            channels: BTreeMap::new(),
            http: None,
            _dir: Arc::clone(&self.dir),
        };
        (gateway, line)
    }
}

/// A running gateway. Killed when it goes out of sight.
pub(crate) struct Gateway {
    process: Child,
    said: Arc<Mutex<String>>,
    pub(crate) data: PathBuf,
    /// The channels of the file, by name.
    pub(crate) channels: BTreeMap<String, (u64, SocketAddr)>,
    /// Where its API is.
    pub(crate) http: Option<SocketAddr>,
    _dir: Arc<tempfile::TempDir>,
}

impl Gateway {
    fn hear(&mut self, line: &str) {
        if let Some(address) = line.strip_prefix("http listens on ") {
            self.http = address.parse().ok();
        } else if line.starts_with("channel ") {
            let words: Vec<&str> = line.split(' ').collect();
            let (id, name) = (words[1].parse().expect("an id"), words[2].to_owned());
            let at = words.last().and_then(|at| at.parse().ok());
            self.channels.insert(name, (id, at.expect("an address")));
        }
    }

    /// What it has said on standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// Its limits of open files, as the kernel says them: soft and hard.
    pub(crate) fn file_limits(&self) -> (String, String) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.process.id()))
            .expect("it lives");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let mut words = line
            .expect("a line")
            .split_whitespace()
            .skip(3)
            .map(str::to_owned);
        (words.next().expect("soft"), words.next().expect("hard"))
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Is each of its threads traced?
    pub(crate) fn is_traced(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        tasks.expect("it is there").flatten().all(|task| {
            let status = std::fs::read_to_string(task.path().join("status"));
            status.is_ok_and(|status| {
                let line = status.lines().find(|line| line.starts_with("TracerPid:"));
                line.is_some_and(|line| !line.ends_with("\t0"))
            })
        })
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> u64 {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        files.expect("it lives").count() as u64
    }

    /// Sets its soft limit of open files from outside; gives back what it was.
    pub(crate) fn limit_files(&self, most: u64) -> u64 {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(most),
            maximum,
        };
        let before = prlimit(Some(self.pid()), Resource::Nofile, limit);
        before.expect("it is ours").current.expect("a limit")
    }

    /// The memory that it has in use, in KiB, as the kernel says it.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))
            .expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let mut words = line.expect("a line").split_whitespace();
        words.nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
    }

    pub(crate) fn kill_minus_9(mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it ends");
    }

    pub(crate) fn send_sighup(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    pub(crate) fn send_sigterm(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Calls `meanwhile` while the whole process stands still.
    #[track_caller]
    pub(crate) fn while_stopped<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.signal(rustix::process::Signal::STOP);
        // the signal is on its way when the call returns: threads on other processors run on a little
        until("every thread stands still", || self.stands_still());
        let result = meanwhile();
        self.signal(rustix::process::Signal::CONT);
        result
    }

    /// Is each of its threads stopped?
    fn stands_still(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id()));
        tasks.expect("it is there").all(|task| {
            let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat"));
            // `1234 (a name) T ...`: a name may hold anything, the last bracket ends it
            stat.is_ok_and(|stat| {
                let state = stat
                    .rsplit_once(") ")
                    .map(|(_, rest)| rest.as_bytes().first());
                state == Some(Some(&b'T'))
            })
        })
    }

    fn pid(&self) -> rustix::process::Pid {
        let pid = i32::try_from(self.process.id()).ok();
        pid.and_then(rustix::process::Pid::from_raw).expect("a pid")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it is there");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait().expect("it is ours") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end:\n{}", self.said());
    }

    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.send_sigterm();
        assert!(self.ended().success(), "{}", self.said());
    }

    /// A call over the local socket: its status and answer.
    #[track_caller]
    pub(crate) fn call(&self, cid: u64, method: &str, path: &str, body: &Value) -> (u16, Value) {
        call(&self.data, cid, method, path, body).expect("an answer")
    }

    /// A call that must succeed: its first row.
    #[track_caller]
    pub(crate) fn row(&self, cid: u64, method: &str, path: &str, body: &Value) -> Value {
        let (status, mut answer) = self.call(cid, method, path, body);
        let row = answer.pointer_mut("/result/0").map(Value::take);
        match row {
            Some(row) if status == 200 => row,
            _ => panic!("{method} {path}: {status} {answer}"),
        }
    }

    /// Makes an item and gives back its id.
    #[track_caller]
    pub(crate) fn make(&self, cid: u64, path: &str, body: &Value) -> u64 {
        self.row(cid, "POST", path, body)["id"]
            .as_u64()
            .expect("an id")
    }

    /// A master account, a Teltonika channel of it, and the channel's address.
    #[track_caller]
    pub(crate) fn master_and_channel(&self) -> (u64, u64, SocketAddr) {
        self.master_and_channel_of("teltonika")
    }

    /// The same of another protocol.
    #[track_caller]
    pub(crate) fn master_and_channel_of(&self, protocol: &str) -> (u64, u64, SocketAddr) {
        let master = self.make(0, "/platform/subaccounts", &json!({ "name": "master" }));
        let (channel, at) = self.channel_of(protocol, master);
        (master, channel, at)
    }

    /// A channel of a protocol, and its address.
    #[track_caller]
    pub(crate) fn channel_of(&self, protocol: &str, cid: u64) -> (u64, SocketAddr) {
        let channel = json!({ "name": protocol, "protocol_name": protocol });
        let row = self.row(cid, "POST", "/gw/channels?fields=id,port", &channel);
        let port = row["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port")));
        (row["id"].as_u64().expect("an id"), at)
    }

    /// Makes a Teltonika device.
    #[track_caller]
    pub(crate) fn device(&self, cid: u64, ident: &str) -> u64 {
        self.device_of("teltonika", cid, ident)
    }

    /// Makes a device of another protocol.
    #[track_caller]
    pub(crate) fn device_of(&self, protocol: &str, cid: u64, ident: &str) -> u64 {
        let device = json!({
            "name": ident,
            "protocol_name": protocol,
            "configuration": { "ident": ident },
        });
        self.make(cid, "/gw/devices", &device)
    }

    /// The times of a device's messages, in ms, ascending.
    #[track_caller]
    pub(crate) fn stored(&self, device: u64) -> Vec<i64> {
        self.stored_from(device, 0)
    }

    /// Those from a time on.
    #[track_caller]
    pub(crate) fn stored_from(&self, device: u64, from_ms: i64) -> Vec<i64> {
        let path = format!("/gw/devices/{device}/messages");
        let from_s = from_ms as f64 / 1000.0;
        let asked = json!({ "fields": "timestamp", "from": from_s });
        let (status, answer) = self.call(0, "GET", &path, &asked);
        assert_eq!(status, 200, "{answer}");
        let rows = answer["result"].as_array().expect("rows").iter();
        let mut times: Vec<i64> = rows.map(|row| ms_of(&row["timestamp"])).collect();
        times.sort_unstable();
        times
    }

    /// What an account and its branch used: `counters`, with `totals` in it.
    #[track_caller]
    pub(crate) fn account(&self, id: u64) -> Value {
        let path = format!("/platform/subaccounts/{id}?fields=id,enabled,blocked,counters");
        self.row(0, "GET", &path, &Value::Null)
    }

    /// `/metrics` over TCP, with these lines of header.
    #[track_caller]
    pub(crate) fn page(&self, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.http.expect("an address")).expect("http");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        let call = format!("GET /metrics HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(call.as_bytes()).expect("it is sent");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        page
    }

    /// The sum of a metric over its series, from `/metrics` over TCP.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.page("");
        let series = page.lines().filter(|line| line.starts_with(name));
        let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// `audit` says that every counter is right.
    #[track_caller]
    pub(crate) fn audit(&self) {
        audit(&self.data);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // it may have ended already
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A call over the local socket of whoever runs on a data directory, if somebody does to the end.
pub(crate) fn call(
    data: &Path,
    cid: u64,
    method: &str,
    path: &str,
    body: &Value,
) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(data.join("tollgate.sock"))?;
    stream.set_read_timeout(Some(LONG))?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let account = match cid {
        0 => String::new(),
        cid => format!("x-flespi-cid: {cid}\r\n"),
    };
    let length = body.len();
    let call = format!(
        "{method} {path} HTTP/1.0\r\nhost: localhost\r\n{account}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(call.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let json = serde_json::from_str(body).unwrap_or(Value::Null);
    Ok((status.ok_or_else(cut)?, json))
}

/// The command `audit`, which must find nothing.
#[track_caller]
pub(crate) fn audit(data: &Path) {
    let output = command(&["audit", "--data"], data, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.contains("every counter is right to the byte"),
        "{said}"
    );
}

/// A command with a path in it.
#[track_caller]
pub(crate) fn command(before: &[&str], path: &Path, after: &[&str]) -> Output {
    Command::new(TOLLGATE)
        .args(before)
        .arg(path)
        .args(after)
        .env_remove("TOLLGATE_DATA")
        .output()
        .expect("it runs")
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates as an integer"
)]
pub(crate) fn ms_of(seconds: &Value) -> i64 {
    (seconds.as_f64().expect("seconds") * 1000.0).round() as i64
}

/// Looks again and again until it holds; the test ends if it never does.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Now, in ms: trackers' times are of today.
pub(crate) fn now_ms() -> i64 {
    now_us() / 1000
}

pub(crate) fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_micros()).expect("before the year 292 million")
}
