//! A room's own thread that writes, and its end.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A thread that ends when its room tells it to; none, if the room has none.
#[derive(Debug, Default)]
pub struct WriterThread {
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl WriterThread {
    /// Starts it.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)?;
        Ok(Self {
            handle: Mutex::new(Some(handle)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was it started, and not waited for yet?
    pub fn is_there(&self) -> bool {
        self.lock().is_some()
    }

    /// Waits for its end; the room has told it. Says whether it ended without a panic.
    #[must_use]
    pub fn join(&self) -> bool {
        let handle = self.lock().take();
        handle.is_none_or(|handle| handle.join().is_ok())
    }
}
