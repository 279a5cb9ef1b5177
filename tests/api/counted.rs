//! A file system that counts what the threads of calls do with it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollgate::segment::{FileOps, Files, OsFiles};

/// The real files. The journal's own threads (writer, keeper, settler) are not counted: what they
/// do comes when it comes.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<AtomicU64>);

impl Counted {
    /// How often a call has touched a file.
    pub(crate) fn touched(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn touch(&self) -> OsFiles {
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with("tokio")) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        OsFiles
    }

    fn counts(&self, file: io::Result<Box<dyn FileOps>>) -> io::Result<Box<dyn FileOps>> {
        Ok(Box::new(CountedFile(self.clone(), file?)))
    }
}

impl Files for Counted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        self.counts(self.touch().create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        self.counts(self.touch().open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch().rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.touch().unlink(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.touch().create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.touch().sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.touch().list(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.touch().free_space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.touch().lock(path)
    }
}

struct CountedFile(Counted, Box<dyn FileOps>);

impl FileOps for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.touch();
        self.1.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.touch();
        self.1.write_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.touch();
        self.1.allocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.touch();
        self.1.truncate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.touch();
        self.1.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.touch();
        self.1.len()
    }
}
