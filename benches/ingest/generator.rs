//! Trackers are a process of their own, so that what they cost is not the measuring process's: what both
//! sides of that have in common, whatever the trackers do.
//!
//! The process is told what to do by lines on its standard input and answers each with a line. It ends
//! with its input, and is ended with what stands for it here.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The ident of tracker number `index`.
pub(crate) fn ident(index: usize) -> String {
    format!("35{index:013}")
}

/// How one says who it is.
pub(crate) fn login_of(ident: &str) -> Vec<u8> {
    let mut login = vec![0, 15];
    login.extend_from_slice(ident.as_bytes());
    login
}

/// The process, told what to do.
pub(crate) struct Generator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Generator {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes to the trackers"));
        };
        let output = BufReader::new(output);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Tells it what to do; its answer.
    pub(crate) fn ask(&mut self, what: &str) -> io::Result<String> {
        writeln!(self.input, "{what}")?;
        self.hear()
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
