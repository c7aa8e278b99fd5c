//! Signals that were ignored when this program was started.
//!
//! `nohup`, and a shell that starts something in the background, have a signal ignored to say that it must not end
//! what they start. A handler installed regardless would take that back.

use std::fs;

/// Whether this process ignores the signal of that number. Ask before a handler is installed.
///
/// `false` where /proc says nothing: then the signal is handled as always.
pub fn is_ignored(signal: i32) -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| is_in_mask(&status, signal))
}

/// `SigIgn` is a hexadecimal mask in which bit n - 1 stands for signal n (proc(5)).
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|shifted| shifted & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SIGHUP: i32 = 1;
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    /// Says that this test is to answer instead of asking.
    const ASKED: &str = "PLATFORM_TEST_ASKED";

    #[test]
    fn the_mask_has_a_bit_for_each_signal() {
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000003\nSigCgt:\tffffffffffffffff\n";
        let ignored: Vec<i32> = (-1..=70).filter(|signal| is_in_mask(status, *signal)).collect();
        assert_eq!(ignored, [SIGHUP, SIGINT]);
        assert!(!is_in_mask("", SIGHUP));
    }

    /// Runs itself as a child of a shell that ignores one signal.
    #[test]
    fn what_the_shell_ignores_is_seen() {
        if std::env::var_os(ASKED).is_some() {
            assert_eq!([SIGHUP, SIGTERM].map(is_ignored), [true, false]);
            return;
        }
        let test = "signals::tests::what_the_shell_ignores_is_seen";
        let script = format!(r#"trap "" HUP; exec "$0" --exact {test}"#);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(ASKED, "1");
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }
}
