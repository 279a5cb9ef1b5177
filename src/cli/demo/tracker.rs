//! Simulated trackers: Teltonika codec 8 Extended with a flash buffer.
//!
//! What is made goes to the flash, and leaves it when it is acked and not before: a tracker sends
//! the oldest frame, waits, and sends the same again on the next connection if the answer does not
//! come. What was acked is written down here, apart from the gateway: it is what the scenes hold
//! against the gateway's answers.

use protocols::kit::checksum;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// Records of a frame.
pub(super) const FRAME_RECORDS_MAX: usize = 8;
/// What the flash holds. Then the oldest record is overwritten, and counted.
pub(super) const FLASH_RECORDS_MAX: usize = 50_000;

/// A tracker waits so long for an answer. Longer than any scene keeps it waiting.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Between two calls: doubled each time, up to the second. A real one takes minutes.
const CALL_AGAIN: Duration = Duration::from_millis(100);
const CALL_AGAIN_MAX: Duration = Duration::from_secs(1);
/// A frame that is not answered for so long has been put aside by the gateway.
const PARKED_AFTER: Duration = Duration::from_millis(700);
/// The first record is so old.
const BEGIN_BEFORE_MS: i64 = 600_000;

/// What a tracker has in its flash, and what it knows of the rest.
#[derive(Debug, Default)]
struct Flash {
    /// Times of the records that are not acked, the oldest first. A record's content follows from
    /// its time.
    waiting: VecDeque<i64>,
    acked: Vec<i64>,
    last_ms: i64,
    made: u64,
    overwritten: u64,
    calls: u64,
    /// Since when it waits for an answer.
    unanswered_since: Option<Instant>,
}

/// Where a tracker stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Records made.
    pub(super) made: u64,
    /// Of these acked.
    pub(super) acked: u64,
    /// Of these in the flash.
    pub(super) waiting: u64,
    /// Overwritten because the flash was full.
    pub(super) overwritten: u64,
    /// Connections so far.
    pub(super) calls: u64,
    /// Trackers whose frame is not answered.
    pub(super) parked: u64,
}

impl std::ops::AddAssign for Standing {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.acked += other.acked;
        self.waiting += other.waiting;
        self.overwritten += other.overwritten;
        self.calls += other.calls;
        self.parked += other.parked;
    }
}

/// A tracker that runs until it is dropped.
pub(super) struct Tracker {
    ident: String,
    flash: Arc<Mutex<Flash>>,
    more: Arc<Notify>,
    task: AbortHandle,
}

impl Tracker {
    /// A tracker that calls `to`.
    pub(super) fn start(ident: String, to: SocketAddr) -> Self {
        let flash = Arc::new(Mutex::new(Flash::default()));
        let more = Arc::new(Notify::new());
        let (name, memory, woken) = (ident.clone(), Arc::clone(&flash), Arc::clone(&more));
        let task = tokio::spawn(async move {
            let mut pause = CALL_AGAIN;
            loop {
                let before = open(&memory).acked.len();
                // however a connection ends, a tracker does the same: it calls again
                drop(call(&name, to, &memory, &woken).await);
                let taken = {
                    let mut flash = open(&memory);
                    flash.unanswered_since = None;
                    flash.acked.len() > before
                };
                pause = if taken {
                    CALL_AGAIN
                } else {
                    (pause * 2).min(CALL_AGAIN_MAX)
                };
                sleep(pause).await;
            }
        });
        Self {
            ident,
            flash,
            more,
            task: task.abort_handle(),
        }
    }

    pub(super) fn ident(&self) -> &str {
        &self.ident
    }

    /// The tracker has seen `count` more positions since the last, up to now.
    pub(super) fn make(&self, count: usize) {
        if count == 0 {
            return;
        }
        let now_ms = super::super::now_ms();
        let mut flash = open(&self.flash);
        if flash.last_ms == 0 {
            flash.last_ms = now_ms - BEGIN_BEFORE_MS;
        }
        let records = i64::try_from(count).unwrap_or(i64::MAX);
        let step_ms = ((now_ms - flash.last_ms) / records).max(1);
        for _ in 0..count {
            flash.last_ms += step_ms;
            flash.made += 1;
            let time_ms = flash.last_ms;
            if flash.waiting.len() == FLASH_RECORDS_MAX {
                flash.waiting.pop_front();
                flash.overwritten += 1;
            }
            flash.waiting.push_back(time_ms);
        }
        drop(flash);
        self.more.notify_one();
    }

    pub(super) fn standing(&self) -> Standing {
        let flash = open(&self.flash);
        let parked = flash
            .unanswered_since
            .is_some_and(|since| since.elapsed() > PARKED_AFTER);
        Standing {
            made: flash.made,
            acked: flash.acked.len() as u64,
            waiting: flash.waiting.len() as u64,
            overwritten: flash.overwritten,
            calls: flash.calls,
            parked: u64::from(parked),
        }
    }

    /// The times of the acked records, in ms.
    pub(super) fn acked(&self) -> Vec<i64> {
        open(&self.flash).acked.clone()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open(flash: &Mutex<Flash>) -> MutexGuard<'_, Flash> {
    flash.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection: login, then frame by frame, each until it is acked.
async fn call(
    ident: &str,
    to: SocketAddr,
    memory: &Mutex<Flash>,
    woken: &Notify,
) -> io::Result<()> {
    let mut stream = timeout(CONNECT_WAIT, TcpStream::connect(to)).await??;
    stream.set_nodelay(true)?;
    open(memory).calls += 1;
    let mut login = vec![0, u8::try_from(ident.len()).unwrap_or(u8::MAX)];
    login.extend_from_slice(ident.as_bytes());
    let mut answer = [0];
    ask(&mut stream, memory, &login, &mut answer).await?;
    if answer != [1] {
        return Err(io::Error::other("the login was refused"));
    }
    loop {
        let frame: Vec<i64> = {
            let flash = open(memory);
            let oldest = flash.waiting.iter().take(FRAME_RECORDS_MAX);
            oldest.copied().collect()
        };
        if frame.is_empty() {
            let mut byte = [0];
            // an idle tracker notices when it is hung up on
            tokio::select! {
                () = woken.notified() => continue,
                read = stream.read(&mut byte) => {
                    read?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let mut answer = [0; 4];
        ask(&mut stream, memory, &encode(&frame), &mut answer).await?;
        let taken = u32::from_be_bytes(answer) as usize;
        if taken != frame.len() {
            return Err(io::Error::other("the frame was refused"));
        }
        let mut flash = open(memory);
        for time_ms in frame {
            // it may have been overwritten meanwhile
            if flash.waiting.front() == Some(&time_ms) {
                flash.waiting.pop_front();
            }
            flash.acked.push(time_ms);
        }
    }
}

/// Says it and waits for the whole answer.
async fn ask(
    stream: &mut TcpStream,
    memory: &Mutex<Flash>,
    bytes: &[u8],
    answer: &mut [u8],
) -> io::Result<()> {
    open(memory).unanswered_since = Some(Instant::now());
    timeout(ANSWER_WAIT, async {
        stream.write_all(bytes).await?;
        stream.read_exact(answer).await.map(drop)
    })
    .await??;
    open(memory).unanswered_since = None;
    Ok(())
}

/// A codec 8 Extended frame of records with these times.
fn encode(times_ms: &[i64]) -> Vec<u8> {
    let count = u8::try_from(times_ms.len()).unwrap_or(u8::MAX);
    let mut body = vec![0x8e, count];
    for time_ms in times_ms {
        record(&mut body, *time_ms);
    }
    body.push(count);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
    frame
}

/// A lorry between Kiel and Hamburg. All of it follows from the time, so that what is sent again
/// is the same bytes.
fn record(body: &mut Vec<u8>, time_ms: i64) {
    const KIEL: (i32, i32) = (101_300_000, 543_200_000);
    const HAMBURG: (i32, i32) = (99_900_000, 535_500_000);
    /// Steps of the way.
    const WAY: i32 = 3600;
    let step = i32::try_from((time_ms / 1000).rem_euclid(i64::from(2 * WAY))).unwrap_or(0);
    let (step, course): (i32, u16) = if step < WAY {
        (step, 187)
    } else {
        (2 * WAY - step, 7)
    };
    let at = |from: i32, to: i32| from + (to - from) / WAY * step;
    let speed = 70 + u16::try_from(time_ms.rem_euclid(15)).unwrap_or(0);
    body.extend_from_slice(&time_ms.to_be_bytes());
    body.push(0);
    body.extend_from_slice(&at(KIEL.0, HAMBURG.0).to_be_bytes());
    body.extend_from_slice(&at(KIEL.1, HAMBURG.1).to_be_bytes());
    body.extend_from_slice(&20i16.to_be_bytes());
    body.extend_from_slice(&course.to_be_bytes());
    body.push(11);
    body.extend_from_slice(&speed.to_be_bytes());
    // no event; six elements: ignition, movement, GSM signal; supply, battery; odometer
    body.extend_from_slice(&[0, 0, 0, 6]);
    body.extend_from_slice(&[0, 3, 0, 239, 1, 0, 240, 1, 0, 21, 4]);
    body.extend_from_slice(&[0, 2, 0, 66, 0x6f, 0x2c, 0, 67, 0x10, 0x2e]);
    body.extend_from_slice(&[0, 1, 0, 16]);
    let odometer = u32::try_from(time_ms.rem_euclid(1 << 31)).unwrap_or(0);
    body.extend_from_slice(&odometer.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Known, Transcript};
    use serde_json::Value;
    use std::convert::Infallible;
    use tokio::net::TcpListener;

    #[test]
    fn the_decoder_reads_what_a_tracker_sends() {
        let protocol = protocols::find("teltonika").expect("it is registered");
        let mut decoder = Transcript::open(protocol, Known::default()).expect("it opens");
        let mut lines = Vec::new();
        let mut login = vec![0, 15];
        login.extend_from_slice(b"356600000000001");
        for bytes in [login, encode(&[1_795_500_000_000, 1_795_500_000_001])] {
            let read = decoder.read(&bytes, 1_795_500_100_000, &mut |line: Value, _| {
                lines.push(line);
                Ok::<_, Infallible>(())
            });
            read.expect("nothing fails");
        }
        assert_eq!(lines.len(), 5, "login, its answer, two messages, the ack");
        let message = &lines[2]["message"];
        assert_eq!(message["timestamp"], 1_795_500_000);
        assert_eq!(lines[3]["message"]["timestamp"], 1_795_500_000.001);
        assert_eq!(message["engine.ignition.status"], true);
        assert!(lines.iter().all(|line| line.get("rejected").is_none()));
    }

    #[tokio::test]
    async fn what_is_not_acked_is_sent_again_on_the_next_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let tracker = Tracker::start("356600000000001".into(), to);
        tracker.make(3);
        let mut frames = Vec::new();
        for acks in [false, true] {
            let (mut stream, _) = listener.accept().await.expect("a call");
            let mut login = [0; 17];
            stream.read_exact(&mut login).await.expect("a login");
            stream.write_all(&[1]).await.expect("an answer");
            let mut head = [0; 8];
            stream.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let mut rest = vec![0; length + 4];
            stream.read_exact(&mut rest).await.expect("the rest");
            frames.push(rest);
            if acks {
                stream.write_all(&[0, 0, 0, 3]).await.expect("an ack");
                while tracker.standing().waiting > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        assert_eq!(frames[0], frames[1]);
        let standing = tracker.standing();
        assert_eq!((standing.made, standing.acked, standing.calls), (3, 3, 2));
        assert_eq!(tracker.acked().len(), 3);
    }
}
