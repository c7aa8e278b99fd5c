//! What a run leaves on the machine, found from outside: processes by their environment, sockets through the kernel's
//! tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Returns the ids of the processes with the run id in their environment.
pub fn processes(run_id: &str) -> BTreeSet<u32> {
    let wanted = format!("E2E_RUN_ID={run_id}");
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            // It is unreadable if the process has ended in the meantime or is not ours.
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
}

/// Returns the TCP addresses that the run's processes listen on.
pub fn listeners(run_id: &str) -> BTreeSet<SocketAddr> {
    let mut inodes = BTreeSet::new();
    for pid in processes(run_id) {
        for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            let inode =
                target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            inodes.extend(inode.map(|inode: u64| inode));
        }
    }
    listening().into_iter().filter(|(_, inode)| inodes.contains(inode)).map(|(address, _)| address).collect()
}

/// Returns all listening TCP sockets of the machine, with their inodes.
pub fn listening() -> Vec<(SocketAddr, u64)> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|text| text.lines().skip(1).filter_map(parse).collect::<Vec<_>>())
        .collect()
}

/// Parses one line of /proc/net/tcp: `sl local remote st ... inode`; state 0A is LISTEN.
fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.get(3) != Some(&"0A") {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.swap_bytes())),
        _ => {
            let mut bytes = [0_u8; 16];
            for (word, chunk) in bytes.chunks_mut(4).enumerate() {
                let value = u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok()?;
                chunk.copy_from_slice(&value.to_le_bytes());
            }
            IpAddr::from(bytes)
        }
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), fields.get(9)?.parse().ok()?))
}
