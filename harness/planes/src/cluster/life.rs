//! Whether a process is still the one that was meant: ids are used again.

use std::fs;

/// Clock ticks from boot to its start (field 22 of `/proc/PID/stat`); none once the process has ended, a zombie included.
pub(super) fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
