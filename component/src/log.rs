//! Logging: JSON lines on stderr, level by `RUST_LOG` (default `info`).

use std::io::Write;

use tracing_subscriber::EnvFilter;

/// Installs the logger of the process. Later calls do nothing.
pub fn init() {
    init_with("info", std::io::stderr);
}

/// As [`init`], with another default level, and lines that go to what `writer` makes for each of them.
pub fn init_with<W, F>(level: &str, writer: F)
where
    W: Write + 'static,
    F: Fn() -> W + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env()
        // kube opens a span per request at debug level: keep it out of loads.
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},kube=warn,hyper=warn,tower=warn,h2=warn")));
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(writer).try_init();
}
