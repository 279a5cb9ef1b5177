//! Conversations over real connections: the tracker's side of each is said again, at the pace of
//! the capture, to whoever listens.
//!
//! It behaves as a tracker does. Where the capture had an answer it waits for one; when none comes
//! it says the same again, a few times; when the connection breaks it calls again, says what it
//! said first (its login) and goes on where it had no answer. What is answered is not compared
//! with right and wrong, only counted: the gateway under test may answer otherwise than the one
//! that was recorded.

use super::{Conversation, From};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The same thing is said so many times, the first time counted.
pub const TRIES_MAX: u32 = 4;
/// A conversation calls so many times, the first time counted.
pub const CALLS_MAX: u32 = 4;
/// The most bytes of an answer that are kept to compare them with the capture's.
pub const ANSWER_BYTES_KEPT_MAX: usize = 64 * 1024;

/// An answer of another length than the recorded one is complete when so long nothing follows.
const QUIET: Duration = Duration::from_millis(200);
/// A connection that cannot be opened within this time cannot be opened.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Between two calls.
const CALL_AGAIN: Duration = Duration::from_millis(500);
/// After the last word the other side has so long to close.
const FAREWELL_WAIT: Duration = Duration::from_secs(2);

/// How to play.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Who is called.
    pub to: SocketAddr,
    /// So many times as fast as it was recorded; `None`: as fast as the answers allow.
    pub speed: Option<f64>,
    /// The most connections at a time. The others wait for one to end.
    pub connections: usize,
    /// How long to wait for an answer before saying the same again.
    pub answer_wait: Duration,
}

/// How a conversation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// Its place in the recording.
    pub index: usize,
    /// What was sent, everything that was sent again included.
    pub sent_bytes: u64,
    /// What came back.
    pub received_bytes: u64,
    /// How often the capture had an answer.
    pub answers_due: u32,
    /// How often one came.
    pub answers: u32,
    /// How often it was the same bytes.
    pub answers_same: u32,
    /// How often the same was said again.
    pub said_again: u32,
    /// How often it had to call again.
    pub called_again: u32,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was said, and answered where the capture has an answer.
    Done,
    /// Something stayed without an answer.
    Unanswered,
    /// The other side closed the connection every time.
    Closed,
    /// No connection came about.
    NotConnected(io::ErrorKind),
}

/// Plays all of them. `ended` hears of each as it ends; they come back in the order of the
/// recording.
pub async fn play(
    conversations: Arc<[Conversation]>,
    plan: Plan,
    ended: &mut dyn FnMut(&Played),
) -> Vec<Played> {
    let seats = Arc::new(Semaphore::new(plan.connections.max(1)));
    let first_us = conversations.iter().map(|one| one.opened_us).min();
    let start = Instant::now();
    let mut playing = JoinSet::new();
    let mut over: Vec<watch::Receiver<bool>> = Vec::new();
    let before = predecessors(&conversations);
    for ((index, conversation), before) in conversations.iter().enumerate().zip(before) {
        let since_us = conversation.opened_us.saturating_sub(first_us.unwrap_or(0));
        let due = start + plan.pace(since_us);
        let (conversations, seats) = (Arc::clone(&conversations), Arc::clone(&seats));
        let before = before.and_then(|before| over.get(before)).cloned();
        let (ends, ended) = watch::channel(false);
        over.push(ended);
        playing.spawn(async move {
            sleep_until(due).await;
            if let Some(mut before) = before {
                // That it is gone is an end as well.
                drop(before.wait_for(|over| *over).await);
            }
            let seat = seats.acquire_owned().await;
            let conversation = conversations.get(index)?;
            let played = Player::new(index, plan).play(conversation).await;
            drop(seat);
            ends.send_replace(true);
            Some(played)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = playing.join_next().await {
        if let Ok(Some(played)) = joined {
            ended(&played);
            all.push(played);
        }
    }
    all.sort_by_key(|played| played.index);
    all
}

/// For each conversation the one that has to end before it begins: the last of the same client's
/// address that had ended before it was opened. A tracker speaks to one server at a time: played
/// faster than it was recorded, its second connection must not overtake its first.
fn predecessors(conversations: &[Conversation]) -> Vec<Option<usize>> {
    let end_us = |one: &Conversation| one.turns.last().map_or(one.opened_us, |turn| turn.at_us);
    let mut of_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    let mut before = Vec::with_capacity(conversations.len());
    for (index, conversation) in conversations.iter().enumerate() {
        let earlier = of_address.entry(conversation.client.ip()).or_default();
        // Only the latest few: behind one address there may be a whole network.
        let latest = earlier.iter().rev().take(PREDECESSORS_TRIED_MAX).copied();
        before.push(
            latest
                .filter_map(|index| Some((end_us(conversations.get(index)?), index)))
                .filter(|(end_us, _)| *end_us <= conversation.opened_us)
                .max()
                .map(|(_, index)| index),
        );
        earlier.push(index);
    }
    before
}

const PREDECESSORS_TRIED_MAX: usize = 64;

impl Plan {
    /// A stretch of recorded time at the pace of the plan.
    fn pace(&self, us: i64) -> Duration {
        let us = u64::try_from(us).unwrap_or(0);
        self.speed.map_or(Duration::ZERO, |speed| {
            let seconds = Duration::from_micros(us).as_secs_f64() / speed;
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
        })
    }
}

/// What is said without waiting, and what the capture has as the answer to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exchange {
    /// Each with its time since the beginning of the conversation.
    said: Vec<(i64, Vec<u8>)>,
    answer: Vec<u8>,
}

fn exchanges(conversation: &Conversation) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    for turn in &conversation.turns {
        let since_us = turn.at_us.saturating_sub(conversation.opened_us);
        let open = all.last_mut();
        match turn.from {
            From::Client => match open.filter(|exchange| exchange.answer.is_empty()) {
                Some(exchange) => exchange.said.push((since_us, turn.bytes.clone())),
                None => all.push(Exchange {
                    said: vec![(since_us, turn.bytes.clone())],
                    answer: Vec::new(),
                }),
            },
            From::Server => match open {
                Some(exchange) => exchange.answer.extend_from_slice(&turn.bytes),
                None => all.push(Exchange {
                    said: Vec::new(),
                    answer: turn.bytes.clone(),
                }),
            },
        }
    }
    all
}

/// One conversation being played.
struct Player {
    plan: Plan,
    played: Played,
    start: Instant,
}

/// A connection, and what came over it for the present exchange.
struct Link {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    answer: Vec<u8>,
    answer_bytes: usize,
    heard: u64,
    closed: bool,
}

impl Link {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = timeout(CONNECT_WAIT, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Self {
            read,
            write,
            answer: Vec::new(),
            answer_bytes: 0,
            heard: 0,
            closed: false,
        })
    }

    /// Sends all of `bytes`, listening meanwhile: an answer that nobody reads would stop both.
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while !bytes.is_empty() {
            tokio::select! {
                written = self.write.write(bytes) => {
                    bytes = bytes.get(written?..).unwrap_or_default();
                }
                read = self.read.read(&mut buffer), if !self.closed => {
                    self.hear(read.ok(), &buffer);
                }
            }
        }
        Ok(())
    }

    /// Listens until something comes or `until`. Did something come?
    async fn listen(&mut self, until: Instant) -> bool {
        if self.closed {
            return false;
        }
        let mut buffer = [0; 4096];
        tokio::select! {
            read = self.read.read(&mut buffer) => {
                self.hear(read.ok(), &buffer);
                true
            }
            () = sleep_until(until) => false,
        }
    }

    fn hear(&mut self, read: Option<usize>, buffer: &[u8]) {
        let Some(length @ 1..) = read else {
            self.closed = true;
            return;
        };
        let heard = buffer.get(..length).unwrap_or_default();
        self.heard += heard.len() as u64;
        self.answer_bytes += heard.len();
        let room = ANSWER_BYTES_KEPT_MAX.saturating_sub(self.answer.len());
        self.answer
            .extend_from_slice(heard.get(..room).unwrap_or(heard));
    }
}

/// What came of waiting for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Came,
    None,
    Broken,
}

impl Player {
    fn new(index: usize, plan: Plan) -> Self {
        Self {
            plan,
            played: Played {
                index,
                sent_bytes: 0,
                received_bytes: 0,
                answers_due: 0,
                answers: 0,
                answers_same: 0,
                said_again: 0,
                called_again: 0,
                took: Duration::ZERO,
                outcome: Outcome::Done,
            },
            start: Instant::now(),
        }
    }

    async fn play(mut self, conversation: &Conversation) -> Played {
        let exchanges = exchanges(conversation);
        self.start = Instant::now();
        self.played.outcome = match self.call(&exchanges).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::NotConnected(error.kind()),
        };
        self.played.took = self.start.elapsed();
        self.played
    }

    async fn call(&mut self, exchanges: &[Exchange]) -> io::Result<Outcome> {
        let mut link = Link::open(self.plan.to).await?;
        for (index, exchange) in exchanges.iter().enumerate() {
            let due = !exchange.answer.is_empty();
            self.played.answers_due += u32::from(due);
            let mut tries = 1;
            let mut calls = 1;
            loop {
                match self.exchange(&mut link, exchange).await {
                    Answer::Came => {
                        if due {
                            self.played.answers += 1;
                            let same = link.answer == exchange.answer;
                            self.played.answers_same += u32::from(same);
                        }
                        break;
                    }
                    Answer::None if tries < TRIES_MAX => {
                        tries += 1;
                        self.played.said_again += 1;
                    }
                    Answer::None => {
                        self.part(link).await;
                        return Ok(Outcome::Unanswered);
                    }
                    Answer::Broken => {
                        self.played.received_bytes += std::mem::take(&mut link.heard);
                        if calls == CALLS_MAX {
                            return Ok(Outcome::Closed);
                        }
                        calls += 1;
                        self.played.called_again += 1;
                        sleep_until(Instant::now() + CALL_AGAIN).await;
                        link = Link::open(self.plan.to).await?;
                        // The first words of a connection are the login, if there is one.
                        if let Some(login) = exchanges.first().filter(|_| index > 0) {
                            self.exchange(&mut link, login).await;
                        }
                    }
                }
            }
        }
        self.part(link).await;
        Ok(Outcome::Done)
    }

    /// Says one thing and waits for its answer.
    async fn exchange(&mut self, link: &mut Link, exchange: &Exchange) -> Answer {
        link.answer.clear();
        link.answer_bytes = 0;
        for (since_us, bytes) in &exchange.said {
            let due = self.start + self.plan.pace(*since_us);
            while Instant::now() < due && !link.closed {
                link.listen(due).await;
            }
            if link.closed || link.send(bytes).await.is_err() {
                return Answer::Broken;
            }
            self.played.sent_bytes += bytes.len() as u64;
        }
        if exchange.answer.is_empty() {
            return Answer::Came;
        }
        let deadline = Instant::now() + self.plan.answer_wait;
        while link.answer_bytes < exchange.answer.len() {
            let until = if link.answer_bytes > 0 {
                deadline.min(Instant::now() + QUIET)
            } else {
                deadline
            };
            if !link.listen(until).await {
                break;
            }
        }
        match link.answer_bytes {
            0 if link.closed => Answer::Broken,
            0 => Answer::None,
            _ => Answer::Came,
        }
    }

    /// Says that nothing more comes, and lets the other side finish.
    async fn part(&mut self, mut link: Link) {
        let until = Instant::now() + FAREWELL_WAIT;
        if link.write.shutdown().await.is_ok() {
            while link.listen(until).await {}
        }
        self.played.received_bytes += link.heard;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Turn};
    use super::*;
    use tokio::net::TcpListener;

    fn recorded(turns: &[(i64, From, &[u8])]) -> Arc<[Conversation]> {
        let turns = turns.iter().map(|(ms, from, bytes)| Turn {
            at_us: ms * 1000,
            from: *from,
            bytes: bytes.to_vec(),
        });
        Arc::new([Conversation {
            client: "10.0.0.7:40001".parse().unwrap(),
            server: "10.0.0.1:5027".parse().unwrap(),
            opened_us: 0,
            from_start: true,
            turns: turns.collect(),
            ended: Ended::Closed,
            gaps: 0,
        }])
    }

    const SMALL: &[(i64, From, &[u8])] = &[
        (0, From::Client, b"login"),
        (10, From::Server, b"y"),
        (100, From::Client, b"da"),
        (110, From::Client, b"ta"),
        (120, From::Server, b"ok"),
    ];

    /// A server that answers what `answer` makes of everything heard on a connection so far;
    /// `None` closes the connection. Returns what each connection said.
    async fn against(
        turns: &[(i64, From, &[u8])],
        speed: Option<f64>,
        answer: fn(usize, &[u8]) -> Option<&'static [u8]>,
    ) -> (Played, Vec<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan {
            to: listener.local_addr().unwrap(),
            speed,
            connections: 1,
            answer_wait: Duration::from_millis(100),
        };
        let server = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Ok(Ok((mut stream, _))) =
                timeout(Duration::from_secs(2), listener.accept()).await
            {
                let mut said = Vec::new();
                let mut buffer = [0; 100];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    said.extend_from_slice(&buffer[..length]);
                    let Some(reply) = answer(heard.len(), &said) else {
                        break;
                    };
                    stream.write_all(reply).await.unwrap();
                }
                heard.push(said);
            }
            heard
        });
        let mut all = play(recorded(turns), plan, &mut |_| ()).await;
        (all.remove(0), server.await.unwrap())
    }

    #[tokio::test]
    async fn what_was_recorded_is_said_again_at_its_pace() {
        let (played, heard) = against(SMALL, Some(0.5), |_, said| {
            Some(match said {
                b"login" => b"y",
                said if said.ends_with(b"data") => b"ok",
                _ => b"",
            })
        })
        .await;
        assert_eq!(heard, [b"logindata"]);
        assert_eq!(
            (played.answers_due, played.answers, played.answers_same),
            (2, 2, 2)
        );
        assert_eq!((played.sent_bytes, played.received_bytes), (9, 3));
        assert_eq!((played.said_again, played.called_again), (0, 0));
        assert_eq!(played.outcome, Outcome::Done);
        assert!(played.took >= Duration::from_millis(220), "{played:?}");
    }

    #[tokio::test]
    async fn without_an_answer_the_same_is_said_again_and_then_given_up() {
        let (played, heard) = against(SMALL, None, |_, said| {
            Some(if said == b"login" { b"n" } else { b"" })
        })
        .await;
        assert_eq!(heard, [b"logindatadatadatadata"]);
        assert_eq!((played.answers, played.answers_same), (1, 0));
        assert_eq!(played.said_again, TRIES_MAX - 1);
        assert_eq!(played.outcome, Outcome::Unanswered);
    }

    #[tokio::test]
    async fn after_a_broken_connection_it_logs_in_again_and_goes_on() {
        let (played, heard) = against(SMALL, None, |connection, said| match said {
            b"login" => Some(b"y"),
            said if said.len() > 5 && connection == 0 => None,
            said if said.ends_with(b"data") => Some(b"ok"),
            _ => Some(b""),
        })
        .await;
        assert!(heard[0].starts_with(b"login"));
        assert_eq!(heard[1], b"logindata");
        assert_eq!(played.called_again, 1);
        assert_eq!(played.outcome, Outcome::Done);
    }

    #[test]
    fn a_tracker_speaks_to_one_server_at_a_time() {
        let one = |client: &str, opened_us: i64, end_us: i64| Conversation {
            client: client.parse().unwrap(),
            opened_us,
            turns: vec![Turn {
                at_us: end_us,
                from: From::Client,
                bytes: vec![1],
            }],
            ..recorded(SMALL)[0].clone()
        };
        let all = [
            one("10.0.0.7:1", 0, 10),
            one("10.0.0.8:1", 5, 6),
            one("10.0.0.7:2", 8, 30),
            one("10.0.0.7:3", 20, 25),
            one("10.0.0.7:4", 40, 50),
        ];
        assert_eq!(predecessors(&all), [None, None, None, Some(0), Some(2)]);
    }

    #[tokio::test]
    async fn where_nobody_listens_is_said_so() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = free.local_addr().unwrap();
        drop(free);
        let plan = Plan {
            to,
            speed: None,
            connections: 1,
            answer_wait: Duration::from_millis(10),
        };
        let all = play(recorded(SMALL), plan, &mut |_| ()).await;
        assert_eq!(
            all[0].outcome,
            Outcome::NotConnected(io::ErrorKind::ConnectionRefused)
        );
    }
}
