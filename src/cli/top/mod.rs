//! `tollgate top`: what the gateway is doing, live in a terminal.
//!
//! Asks the running gateway, over the socket in its data directory, for the page that Prometheus
//! scrapes, and every few seconds for the accounts and the log of devices. It counts nothing
//! itself, changes nothing, and never opens the data directory: without a gateway it says so.
//!
//! Bounds: `ACCOUNTS_SHOWN` accounts, `DEVICES_SHOWN` devices, `EVENTS_READ` events a look.

mod numbers;
mod page;
mod shown;
mod view;

use super::client::Client;
use super::data::DataArgs;
use super::{Exit, Failure, now_ms, runtime};
use clap::Args as ClapArgs;
use page::Page;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;
use shown::{Between, Order, Shown};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};
use view::Around;

/// How often accounts and the log are asked for.
const SLOW_EVERY: Duration = Duration::from_secs(5);
/// So long ago an event of a device still counts as trouble.
const TROUBLE_S: i64 = 15 * 60;
/// Events that are read for it, the newest.
const EVENTS_READ: usize = 2_000;
/// Accounts that are asked for: those that have series of their own.
const ACCOUNTS_ASKED: usize = crate::metrics::ACCOUNT_SERIES_MAX;

/// Shows what the gateway is doing, live: frames, acks, the journal, connections, accounts by use,
/// devices with trouble. Keys: q quits, s sorts the accounts otherwise, p pauses.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Prints one screen as text and ends: for a script, or a terminal that is none
    #[arg(long)]
    once: bool,
    /// Width of the screen that `--once` prints, in characters
    #[arg(long, value_name = "COLUMNS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(40..=500))]
    width: u16,
    /// Its height, in lines
    #[arg(long, value_name = "LINES", default_value_t = 40, value_parser = clap::value_parser!(u16).range(20..=500))]
    height: u16,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.once && !std::io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, "standard output is no terminal")
            .hint("`tollgate top --once` prints one screen as text"));
    }
    let runtime = runtime()?;
    let client = runtime.block_on(Client::of_running(&args.data.dir()?))?;
    let mut watch = Watch {
        client,
        before: None,
        accounts: Vec::new(),
        events: Vec::new(),
        devices: Vec::new(),
        slow_at: None,
        shown: Shown::default(),
    };
    let every = Duration::from_secs(args.every);
    if args.once {
        runtime.block_on(watch.look(Order::default()))?;
        std::thread::sleep(every);
        runtime.block_on(watch.look(Order::default()))?;
        let around = Around {
            at: &time_of_day(),
            every: &numbers::span(every),
            order: Order::default(),
            paused: false,
            keys: false,
        };
        let screen = text(args.width, args.height, &watch.shown, &around)?;
        return std::io::stdout()
            .lock()
            .write_all(screen.as_bytes())
            .map_err(|error| Failure::output(&error));
    }
    let mut terminal = ratatui::try_init().map_err(|error| no_terminal(&error))?;
    let ended = live(&runtime, &mut watch, &mut terminal, every);
    // whatever went wrong is told on a terminal that is a person's again
    ratatui::restore();
    ended
}

fn no_terminal(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format_args!("the terminal: {error}"))
}

/// Looks, draws and listens to keys until somebody quits.
fn live(
    runtime: &tokio::runtime::Runtime,
    watch: &mut Watch,
    terminal: &mut ratatui::DefaultTerminal,
    every: Duration,
) -> Result<(), Failure> {
    let (mut order, mut paused) = (Order::default(), false);
    loop {
        if !paused {
            runtime.block_on(watch.look(order))?;
        }
        let next = Instant::now() + every;
        loop {
            let around = Around {
                at: &time_of_day(),
                every: &numbers::span(every),
                order,
                paused,
                keys: true,
            };
            terminal
                .draw(|frame| view::draw(frame, &watch.shown, &around))
                .map_err(|error| no_terminal(&error))?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left).map_err(|error| no_terminal(&error))? {
                break;
            }
            match key(&event::read().map_err(|error| no_terminal(&error))?) {
                Some(Key::Quit) => return Ok(()),
                Some(Key::Sort) => {
                    order = order.next();
                    break;
                }
                Some(Key::Pause) => paused = !paused,
                None => {}
            }
        }
    }
}

/// What a key asks for.
enum Key {
    Quit,
    Sort,
    Pause,
}

fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('s') => Some(Key::Sort),
        KeyCode::Char('p') => Some(Key::Pause),
        _ => None,
    }
}

/// A screen as lines of text.
fn text(width: u16, height: u16, shown: &Shown, around: &Around<'_>) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Software, error);
    let mut terminal =
        Terminal::new(TestBackend::new(width, height)).map_err(|error| failed(&error))?;
    terminal
        .draw(|frame| view::draw(frame, shown, around))
        .map_err(|error| failed(&error))?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width)
            .filter_map(|x| Some(buffer.cell((x, y))?.symbol()))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    Ok(text)
}

/// What is known from one look to the next.
struct Watch {
    client: Client,
    before: Option<(Page, Instant)>,
    accounts: Vec<Value>,
    events: Vec<Value>,
    devices: Vec<Value>,
    slow_at: Option<Instant>,
    shown: Shown,
}

impl Watch {
    /// Asks the gateway and makes the screen anew.
    async fn look(&mut self, order: Order) -> Result<(), Failure> {
        let ready = match self.client.text("/health/ready").await? {
            (true, _) => Ok(()),
            (false, why) => Err(why.trim().to_owned()),
        };
        let (_, text) = self.client.text("/metrics").await?;
        let (now, at) = (Page::read(&text), Instant::now());
        if self
            .slow_at
            .is_none_or(|before| before.elapsed() >= SLOW_EVERY)
        {
            self.slow_at = Some(at);
            self.ask_slowly().await?;
        }
        let now_s = now_ms() as f64 / 1e3;
        self.shown.ready = Some(ready);
        self.shown.uptime = shown::uptime(&now, now_s);
        if let Some((before, then)) = &self.before {
            let between = Between {
                before,
                now: &now,
                took: at.duration_since(*then),
            };
            self.shown.way = shown::way(&between);
            self.shown.journal = shown::journal(&between);
            self.shown.connections = shown::connections(&between);
            self.shown.accounts = shown::accounts(&between, &self.accounts, order, now_s);
            shown::remember(&mut self.shown.curve, &between);
        }
        self.shown.devices = shown::devices(&self.events, &self.devices);
        self.before = Some((now, at));
        Ok(())
    }

    /// What costs the gateway more than its numbers: names and states of accounts, the log.
    async fn ask_slowly(&mut self) -> Result<(), Failure> {
        let fields = "id,name,enabled,blocked,blocked_until,blocked_by";
        let path = format!("/platform/subaccounts/all?fields={fields}&limit={ACCOUNTS_ASKED}");
        self.accounts = self.client.result(&path).await?;
        let asked = serde_json::json!({
            "from": now_ms() / 1000 - TROUBLE_S,
            "count": EVENTS_READ,
            "reverse": true,
            "filter": "event_code == 301 || event_code == 305 || event_code == 9001 || event_code == 9004",
        });
        // without devices there is no log of devices, which is no error
        let log = self
            .client
            .call(hyper::Method::GET, "/gw/devices/all/logs", Some(&asked))
            .await?;
        self.events = rows(log.1);
        let ids: Vec<String> = shown::troubled(&self.events)
            .iter()
            .map(ToString::to_string)
            .collect();
        self.devices = if ids.is_empty() {
            Vec::new()
        } else {
            // one that was deleted meanwhile has no name
            let path = format!("/gw/devices/{}?fields=id,name,cid", ids.join(","));
            rows(self.client.call(hyper::Method::GET, &path, None).await?.1)
        };
        Ok(())
    }
}

/// The rows of an answer.
fn rows(mut answer: Value) -> Vec<Value> {
    match answer.get_mut("result").map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => Vec::new(),
    }
}

/// The time of day here, as the clock on the wall has it.
fn time_of_day() -> String {
    jiff::Zoned::now().strftime("%H:%M:%S").to_string()
}
