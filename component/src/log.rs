//! Logging: JSON lines on stderr, level by `RUST_LOG` (default `info`).

use tracing_subscriber::EnvFilter;

/// Installs the logger of the process. Later calls do nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env()
        // kube opens a span per request at debug level: keep it out of loads.
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn,h2=warn"));
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
