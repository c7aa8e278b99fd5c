//! Memory that programs started here can still take.

use std::fs;
use std::io::{self, ErrorKind};

use crate::cgroup::Groups;

/// How much can be taken, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// What can be taken without swapping, MiB.
    pub mib: u64,
    /// The limit of the control group, MiB, where that leaves less than the machine has.
    pub group_limit_mib: Option<u64>,
}

/// What the machine has left (`MemAvailable`), or the control group of this process, if that is less.
///
/// # Errors
/// When /proc/meminfo cannot be read or has no such line.
pub fn available() -> io::Result<Available> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let machine_mib = meminfo_mib(&meminfo, "MemAvailable")
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/meminfo has no line MemAvailable"))?;
    let within = Groups::own().memory();
    Ok(match within {
        Some(room) if room.left_mib < machine_mib => {
            Available { mib: room.left_mib, group_limit_mib: Some(room.limit_mib) }
        }
        _ => Available { mib: machine_mib, group_limit_mib: None },
    })
}

/// A line of /proc/meminfo, in MiB; the file gives kibibytes.
pub fn meminfo_mib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_mebibytes() {
        let text = "MemTotal: 9 kB\nMemAvailable:   20480 kB\n";
        assert_eq!(meminfo_mib(text, "MemAvailable"), Some(20));
        assert_eq!(meminfo_mib(text, "Mem"), None);
        assert_eq!(meminfo_mib("MemTotal: 9 kB\n", "MemAvailable"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available().unwrap().mib > 0);
    }
}
