//! Logging: JSON lines on stderr.
//!
//! The programs of a run get their level as `RUST_LOG`, from the supervisor, which starts them with an environment of
//! its own making. What people start reads [`VARIABLE`] instead: a `RUST_LOG` that a shell has for some other program
//! would burden all that is measured.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// The variable that asks for a level, for a run and all its programs; `--log` of `cargo xtask e2e` sets it.
pub const VARIABLE: &str = "E2E_LOG";

/// Installs the logger of a program of a run: level by `RUST_LOG`, `info` if it is not set. Later calls do nothing.
pub fn init() {
    install(EnvFilter::try_from_default_env().unwrap_or_else(|_| default("info")), io::stderr);
}

/// Installs the logger of a program that people start: level by [`VARIABLE`], `info` if it is not set.
pub fn init_asked() {
    install(EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| default("info")), io::stderr);
}

/// Installs a logger of that level whatever is asked for, with lines that go to what `writer` makes for each of them.
pub fn init_at<W, F>(level: &str, writer: F)
where
    W: Write + 'static,
    F: Fn() -> W + Send + Sync + 'static,
{
    install(default(level), writer);
}

fn default(level: &str) -> EnvFilter {
    // kube opens a span per request at debug level: keep it out of loads.
    EnvFilter::new(format!("{level},kube=warn,hyper=warn,tower=warn,h2=warn"))
}

fn install<W, F>(filter: EnvFilter, writer: F)
where
    W: Write + 'static,
    F: Fn() -> W + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt().json().with_env_filter(filter);
    let _ = subscriber.with_writer(move || Unfailing(writer())).try_init();
}

/// Drops what cannot be written: tracing would say so on stderr, and panic where that is what is broken.
struct Unfailing<W>(W);

impl<W: Write> Write for Unfailing<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_nobody_reads_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut log = Unfailing(Gone);
        assert!(log.write_all(b"line\n").is_ok() && log.flush().is_ok());
    }
}
