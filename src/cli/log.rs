//! Starts the log on standard error, as text or JSON. A separate thread writes all waiting lines at once:
//! a request never waits for a slow or stopped reader of the log.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::thread::sleep;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};
use crate::observe::log_filter::cap_libraries;

/// Maximum of waiting lines; more are dropped.
const MAX_WAITING: usize = 16 * 1024;
/// Size of one write.
const BUFFER_BYTES: usize = 64 << 10;

/// After a write, the thread sleeps this long while lines gather: waking it for each line would cost a
/// request more than the line itself.
const GATHER: Duration = Duration::from_millis(5);

/// The log. Waiting lines are written when it is dropped.
pub struct Log {
    lost: ErrorCounter,
    _writing: WorkerGuard,
}

impl Drop for Log {
    fn drop(&mut self) {
        let lost = self.lost.dropped_lines();
        if lost > 0 {
            tracing::warn!(lost, "log lines were dropped: standard error was read too slowly");
        }
    }
}

pub fn start(config: &LogConfig) -> anyhow::Result<Log> {
    let filter = EnvFilter::builder().parse(&config.log)?;
    let (writer, writing) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING)
        .thread_name("log")
        .finish(GatheringWriter(BufWriter::with_capacity(BUFFER_BYTES, io::stderr())));
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
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    log_panics();
    Ok(Log { lost, _writing: writing })
}

/// Writes when flushed, then sleeps for `GATHER`.
struct GatheringWriter<W>(W);

impl<W: Write> Write for GatheringWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        sleep(GATHER);
        Ok(())
    }
}

/// Logs panics. Formatted messages are left out, because they may contain data.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload().downcast_ref::<&'static str>().copied();
        tracing::error!(place, text, "panicked");
    }));
}
