//! Proxies on the way to an existing cluster: the only place that decides about them.
//!
//! Runs reach an apiserver directly. A proxy would be measured too, and all programs of a run (ours, kwok and the
//! autoscaler's) would have to be configured for it. So a kubeconfig that names a proxy, or a shell that sets one for
//! the apiserver's host, is refused before anything is created. The hosts that are exempt are read as Go's clients
//! (golang.org/x/net/http/httpproxy), and therefore kubectl, read them.

use std::net::IpAddr;

use kube::config::Cluster;

/// Verifies that there is no proxy on the way to the cluster's server; `var` reads the environment.
///
/// # Errors
/// What sends requests through a proxy, and what to do about it.
pub(super) fn none(cluster: &Cluster, var: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let why = "runs reach the apiserver directly, since a proxy would be measured with it";
    if let Some(proxy) = cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        return Err(format!(
            "its cluster goes through a proxy (proxy-url: {}); {why}: give the apiserver's own address, without \
             proxy-url",
            without_password(proxy)
        ));
    }
    let set = |name: &str| {
        let value = var(name).filter(|value| !value.trim().is_empty())?;
        Some((name.to_owned(), value))
    };
    let either = |upper: &str| set(upper).or_else(|| set(&upper.to_ascii_lowercase()));
    let (host, port, proxies) = match endpoint(server) {
        Some((host, port, true)) => (host, port, either("HTTPS_PROXY")),
        Some((host, port, false)) => (host, port, either("HTTP_PROXY")),
        None => return Ok(()),
    };
    let Some((name, proxy)) = proxies else { return Ok(()) };
    let exceptions = either("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
    if goes_without(&host, port, &exceptions) {
        return Ok(());
    }
    Err(format!(
        "{name}={} sends requests to {host} through a proxy; {why}: add {host} to NO_PROXY if it can be reached without",
        without_password(&proxy)
    ))
}

/// Returns the host, the port and whether it is https.
fn endpoint(server: &str) -> Option<(String, u16, bool)> {
    let uri: http::Uri = server.parse().ok()?;
    let is_https = uri.scheme_str() == Some("https");
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Some((host, uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }), is_https))
}

fn without_password(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}...@{host}")
        }
        None => proxy.to_owned(),
    }
}

fn goes_without(host: &str, port: u16, exceptions: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let entries = exceptions.split(',').map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| match address {
        _ if entry == "*" => true,
        Some(address) => holds_address(&entry, address, port),
        None => holds_name(&entry, host, port),
    })
}

fn holds_address(entry: &str, address: IpAddr, port: u16) -> bool {
    if let Some((network, bits)) = entry.split_once('/') {
        let (network, bits) = (network.parse().ok(), bits.parse().ok());
        return network.zip(bits).is_some_and(|(network, bits)| is_in(address, network, bits));
    }
    if let Ok(with_port) = entry.parse::<std::net::SocketAddr>() {
        return with_port.ip() == address && with_port.port() == port;
    }
    entry.trim_start_matches('[').trim_end_matches(']').parse() == Ok(address)
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(four.to_bits()) << 96, 32),
        IpAddr::V6(six) => (six.to_bits(), 128),
    };
    let ((address, width), (network, other)) = (number(address), number(network));
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    width == other && bits <= width && address & mask == network & mask
}

fn holds_name(entry: &str, host: &str, port: u16) -> bool {
    let (name, wanted) = match entry.rsplit_once(':') {
        Some((name, wanted)) => (name, wanted.parse().ok()),
        None => (entry, Some(port)),
    };
    if wanted != Some(port) {
        return false;
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        // Subdomains only.
        Some(_) => host.ends_with(name),
        None => host == name || host.ends_with(&format!(".{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(server: &str, proxy_url: Option<&str>, vars: &[(&str, &str)]) -> Result<(), String> {
        let cluster = Cluster {
            server: Some(server.to_owned()),
            proxy_url: proxy_url.map(str::to_owned),
            ..Cluster::default()
        };
        none(&cluster, |name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_proxy_on_the_way_is_refused_and_one_beside_it_is_not() {
        let far = "https://k8s.example.com:6443";
        let proxy = ("HTTPS_PROXY", "http://127.0.0.1:3128");
        let no = |value: &'static str| ("NO_PROXY", value);
        let direct: [(&str, &[(&str, &str)]); 12] = [
            (far, &[]),
            (far, &[("HTTPS_PROXY", "")]),
            (far, &[("HTTP_PROXY", "http://p:1")]),
            (far, &[proxy, no("*")]),
            (far, &[proxy, no("localhost, EXAMPLE.com")]),
            (far, &[proxy, no("k8s.example.com:6443")]),
            (far, &[proxy, ("no_proxy", ".example.com")]),
            ("https://10.1.2.3", &[proxy, no("10.0.0.0/8")]),
            ("https://[fd00::1]:6443", &[proxy, no("fd00::/8")]),
            ("https://10.1.2.3:6443", &[proxy, no("10.1.2.3:6443")]),
            ("https://127.0.0.1:40001", &[proxy]),
            ("http://localhost:8001", &[("HTTP_PROXY", "http://p:1")]),
        ];
        for (server, vars) in direct {
            assert_eq!(asked(server, None, vars), Ok(()), "{server} {vars:?}");
        }
        let through: [(&str, &[(&str, &str)]); 7] = [
            (far, &[proxy]),
            (far, &[("https_proxy", "127.0.0.1:3128"), no("localhost,127.0.0.1")]),
            (far, &[proxy, no("ample.com")]),
            (far, &[proxy, no("k8s.example.com:443")]),
            ("https://example.com", &[proxy, no(".example.com")]),
            ("https://11.1.2.3", &[proxy, no("10.0.0.0/8")]),
            ("http://10.1.2.3", &[("http_proxy", "http://p:1"), no("fd00::/8,10.0.0.0/33")]),
        ];
        for (server, vars) in through {
            let told = asked(server, None, vars).unwrap_err();
            assert!(told.contains(vars[0].0) && told.contains("NO_PROXY"), "{server} {vars:?}: {told}");
        }
        let told = asked("https://127.0.0.1:6443", Some("socks5://me:secret@jump:1080"), &[]).unwrap_err();
        assert!(told.contains("proxy-url: socks5://...@jump:1080") && !told.contains("secret"), "{told}");
    }
}
