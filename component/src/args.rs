//! The flags that all components share. Names are upstream's where upstream has them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Flags common to all components.
#[derive(Args, Clone, Debug)]
pub struct ComponentArgs {
    /// Kubeconfig of the cluster to work on. The ambient kubeconfig is never read.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Address of the Prometheus endpoint; must be a loopback address.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = parse_loopback)]
    pub metrics_addr: SocketAddr,
    /// Requests per second against the apiserver, over all requests of this program.
    #[arg(long, default_value_t = 200)]
    pub qps: u32,
    /// Requests that may be sent at once after a pause.
    #[arg(long, default_value_t = 400)]
    pub burst: u32,
    /// File to write, as JSON, once the program is ready.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

/// Parses `HOST:PORT` and refuses anything but loopback.
///
/// # Errors
/// When the text is no socket address, or its IP is not a loopback address.
pub fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|e| format!("{e}; give IP:PORT, e.g. 127.0.0.1:0"))?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err(format!("{} is not a loopback address; use 127.0.0.1", addr.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_accepted() {
        assert!(parse_loopback("127.0.0.1:0").is_ok());
        assert!(parse_loopback("[::1]:8080").is_ok());
        assert!(parse_loopback("0.0.0.0:8080").unwrap_err().contains("not a loopback"));
        assert!(parse_loopback("8080").unwrap_err().contains("IP:PORT"));
    }
}
