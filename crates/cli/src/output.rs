//! What a command prints. A reader that has seen enough ends the command quietly; an output that takes no more is an error
//! like any other; neither is a panic, as `println!` would have it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a write to stdout found that it is not read any more.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Stdout as a stream whose errors say that they are stdout's.
///
/// To a terminal each line is written at once, to anything else in blocks; [`finish`] writes the rest.
#[derive(Debug, Default)]
pub(crate) struct Stdout;

/// Why stdout took no more.
#[derive(Debug)]
struct OutputError(io::Error);

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the output: {}", self.0)
    }
}

impl std::error::Error for OutputError {}

fn told(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        IS_CLOSED.store(true, Ordering::Relaxed);
    }
    io::Error::new(error.kind(), OutputError(error))
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(told)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(told)
    }
}

impl Write for &Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(told)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(told)
    }
}

/// Writes out what stdout still holds back.
///
/// # Errors
/// What stdout says; also when an earlier write whose result was dropped found it closed.
pub(crate) fn finish() -> io::Result<()> {
    Stdout.flush()
}

/// Whether the reader of stdout has gone: then an error is no news.
pub(crate) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}

/// Whether what goes to `stream` may have colours: it is a terminal that knows them, and the user has not declined by NO_COLOR.
pub(crate) fn takes_colour(stream: &impl IsTerminal) -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !declined && !is_dumb
}

/// Writes text on stdout; the value is an `io::Result`.
macro_rules! out {
    ($($words:tt)*) => {
        std::io::Write::write_fmt(&mut $crate::output::Stdout, format_args!($($words)*))
    };
}

/// Writes a line on stdout; the value is an `io::Result`.
macro_rules! outln {
    () => { $crate::output::out!("\n") };
    ($format:literal $($words:tt)*) => {
        $crate::output::out!("{}\n", format_args!($format $($words)*))
    };
}

/// Writes a line on stderr, after `dmlab: `. Where stderr takes none it is lost.
macro_rules! errln {
    ($($words:tt)*) => {{
        let line = format!("dmlab: {}\n", format_args!($($words)*));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}

/// Writes a line on stderr as it stands: progress and remarks beside the output. Where stderr takes none it is lost.
macro_rules! noteln {
    ($($words:tt)*) => {{
        let line = format!("{}\n", format_args!($($words)*));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}

pub(crate) use {errln, noteln, out, outln};
