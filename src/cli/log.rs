//! Starts the log, on standard error: text for people, JSON for machines. Lines are written by a thread
//! of their own, all that wait at once: no request waits for who reads them, be it nobody.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::thread::sleep;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};
use crate::observe::log_filter::cap_libraries;

/// Lines that may wait to be written; where more come, they are lost.
const MAX_WAITING: usize = 16 * 1024;
/// Written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Lines gather for so long after some were written: to wake the thread for each would cost a request
/// more than to write its line.
const GATHER: Duration = Duration::from_millis(5);

/// The log; what waits is written when it is dropped.
pub struct Log {
    lost: ErrorCounter,
    _writing: WorkerGuard,
}

impl Drop for Log {
    fn drop(&mut self) {
        let lost = self.lost.dropped_lines();
        if lost > 0 {
            tracing::warn!(
                lost,
                "lines of the log were lost: they came faster than they were read"
            );
        }
    }
}

pub fn start(config: &LogConfig) -> anyhow::Result<Log> {
    let filter = EnvFilter::builder().parse(&config.log)?;
    let (writer, writing) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING)
        .thread_name("log")
        .finish(Gathering(BufWriter::with_capacity(BUFFER_BYTES, io::stderr())));
    let lost = writer.error_counter();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let on_terminal = io::stderr().is_terminal();
    let json = match config.log_format {
        LogFormat::Auto => !on_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started = if json {
        builder.json().flatten_event(true).finish().with(cap_libraries()).try_init()
    } else {
        let builder = builder.with_ansi(on_terminal).with_target(false);
        builder.finish().with(cap_libraries()).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))?;
    log_panics();
    Ok(Log { lost, _writing: writing })
}

/// Flushed when no line waits; then takes none for a while.
struct Gathering<W>(W);

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        sleep(GATHER);
        Ok(())
    }
}

/// A panic is a line like any other, without a text that may hold data.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload().downcast_ref::<&'static str>().copied();
        tracing::error!(place, text, "panicked");
    }));
}
