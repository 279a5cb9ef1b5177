//! A file system that counts what the threads of calls do with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollgate::segment::watched::Watched;

/// The real files. The journal's own threads (writer, keeper, settler) are not counted: what they
/// do comes when it comes.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<AtomicU64>);

impl Counted {
    /// How often a call has touched a file.
    pub(crate) fn touched(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// The files that it counts.
    pub(crate) fn files(&self) -> Arc<Watched> {
        let count = Arc::clone(&self.0);
        Arc::new(Watched::by(move |_| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("tokio")) {
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }))
    }
}
