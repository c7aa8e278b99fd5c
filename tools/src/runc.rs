//! Makes containers start on a host that lacks a capability, by requesting only what is available.
//!
//! Docker and kind request all capabilities (`--privileged`). In a sandbox without, say, CAP_SYS_RESOURCE, runc then
//! refuses, because the kernel gives no process more than its bounding set. `e2e-runc` runs before runc and removes
//! from the container's description what is not available. If no capability is missing, it changes nothing.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::PathBuf,
};

use serde_json::{Map, Value};

/// Capabilities by number (capability.h).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The bit without which the OOM score cannot be lowered and no limit can be raised.
const SYS_RESOURCE: u64 = 1 << 24;

/// What this process can pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// The bounding set, one bit per capability.
    bounding: u64,
    /// The number of capabilities that the kernel knows.
    known: usize,
    /// Its own OOM score adjustment.
    oom_score_adj: i64,
    /// Its own hard limits by the name that a container's description uses; `None` means unlimited.
    hard_limits: Vec<(&'static str, Option<u64>)>,
}

/// The part of a container's description that a runc command names, and the place of the process in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// A bundle's `config.json`, of which the process is a part.
    Container(PathBuf),
    /// The process alone, as for `exec`.
    Process(PathBuf),
}

impl Means {
    /// Returns those of this process, from `/proc`.
    ///
    /// # Errors
    /// When `/proc` does not show them.
    pub fn own() -> io::Result<Means> {
        let unreadable = |what: &str| io::Error::other(format!("/proc does not show {what}"));
        let status = fs::read_to_string("/proc/self/status")?;
        let bounding = bounding_set(&status).ok_or_else(|| unreadable("the bounding set"))?;
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        let last: usize = last.trim().parse().map_err(|_| unreadable("the last capability"))?;
        let adj = fs::read_to_string("/proc/self/oom_score_adj")?;
        let oom_score_adj = adj.trim().parse().map_err(|_| unreadable("the OOM score adjustment"))?;
        let hard_limits = hard_limits(&fs::read_to_string("/proc/self/limits")?);
        Ok(Means { bounding, known: last + 1, oom_score_adj, hard_limits })
    }

    /// Returns the capabilities of this kernel that cannot be passed on.
    pub fn lacking(&self) -> Vec<&'static str> {
        let bits = CAPABILITIES.iter().enumerate().take(self.known);
        bits.filter(|(bit, _)| self.bounding & (1 << bit) == 0).map(|(_, name)| *name).collect()
    }

    /// Removes from a description what is not available.
    pub fn restrict(&self, described: &Described, description: &mut Value) {
        let process = match described {
            Described::Container(_) => description.get_mut("process"),
            Described::Process(_) => Some(description),
        };
        let Some(process) = process.and_then(Value::as_object_mut) else { return };
        let lacking = self.lacking();
        let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
        for set in sets.into_iter().flat_map(Map::values_mut).filter_map(Value::as_array_mut) {
            set.retain(|name| name.as_str().is_none_or(|name| !lacking.contains(&name)));
        }
        if self.bounding & SYS_RESOURCE == 0 {
            self.restrict_resources(process);
        }
    }

    fn restrict_resources(&self, process: &mut Map<String, Value>) {
        if let Some(adj) = process.get_mut("oomScoreAdj")
            && adj.as_i64().is_some_and(|adj| adj < self.oom_score_adj)
        {
            *adj = self.oom_score_adj.into();
        }
        let limits = process.get_mut("rlimits").and_then(Value::as_array_mut);
        for limit in limits.into_iter().flatten().filter_map(Value::as_object_mut) {
            let name = limit.get("type").and_then(Value::as_str);
            let own = self.hard_limits.iter().find(|(known, _)| name == Some(*known));
            let Some((_, Some(highest))) = own else { continue };
            for bound in ["soft", "hard"] {
                if let Some(value) = limit.get_mut(bound)
                    && value.as_u64().is_some_and(|value| value > *highest)
                {
                    *value = (*highest).into();
                }
            }
        }
    }
}

impl Described {
    /// Returns what a runc command describes; `None` for commands that start nothing.
    pub fn of_call(args: &[OsString]) -> Option<Described> {
        let verb =
            args.iter().position(|arg| ["create", "run", "restore", "exec"].iter().any(|v| arg == v))?;
        let rest = &args[verb + 1..];
        if args[verb] == "exec" {
            return flag(rest, "--process", "-p").map(|file| Described::Process(file.into()));
        }
        // Without the flag, the bundle is the working directory.
        let bundle = flag(rest, "--bundle", "-b").map_or_else(PathBuf::new, PathBuf::from);
        Some(Described::Container(bundle.join("config.json")))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Described::Container(path) | Described::Process(path) => path,
        }
    }
}

/// Returns the value of a flag, given as `--flag VALUE` or `--flag=VALUE`.
fn flag(args: &[OsString], long: &str, short: &str) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == OsStr::new(long) || arg == OsStr::new(short) {
            return args.next().cloned();
        }
        let value = arg.to_str().and_then(|arg| arg.strip_prefix(long)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}

fn bounding_set(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Parses the hard limits in `/proc/self/limits`: name in columns, soft, hard, unit.
fn hard_limits(text: &str) -> Vec<(&'static str, Option<u64>)> {
    const NAMES: [(&str, &str); 8] = [
        ("Max open files", "RLIMIT_NOFILE"),
        ("Max processes", "RLIMIT_NPROC"),
        ("Max core file size", "RLIMIT_CORE"),
        ("Max locked memory", "RLIMIT_MEMLOCK"),
        ("Max stack size", "RLIMIT_STACK"),
        ("Max address space", "RLIMIT_AS"),
        ("Max data size", "RLIMIT_DATA"),
        ("Max file size", "RLIMIT_FSIZE"),
    ];
    text.lines()
        .filter_map(|line| {
            let (title, name) = NAMES.iter().find(|(title, _)| line.starts_with(title))?;
            let hard = line[title.len()..].split_whitespace().nth(1)?;
            Some((*name, hard.parse().ok()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the means of a process without CAP_SYS_RESOURCE.
    fn sandboxed() -> Means {
        Means {
            bounding: 0x1ff_feff_ffff,
            known: 41,
            oom_score_adj: 0,
            hard_limits: vec![("RLIMIT_NOFILE", Some(1024)), ("RLIMIT_CORE", None)],
        }
    }

    fn process() -> Value {
        let all = json!(["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"]);
        json!({
            "args": ["/sbin/init"],
            "capabilities": {"bounding": all, "effective": all, "permitted": all, "ambient": []},
            "oomScoreAdj": -500,
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": 1_048_576, "soft": 512},
                {"type": "RLIMIT_CORE", "hard": u64::MAX, "soft": u64::MAX},
            ],
        })
    }

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_container_is_described_without_what_cannot_be_had() {
        let described = Described::Container(PathBuf::new());
        let mut description = json!({"ociVersion": "1.0.2", "process": process(), "hostname": "n"});
        sandboxed().restrict(&described, &mut description);
        let left = json!(["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        let expected = json!({
            "args": ["/sbin/init"],
            "capabilities": {"bounding": left, "effective": left, "permitted": left, "ambient": []},
            "oomScoreAdj": 0,
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512},
                {"type": "RLIMIT_CORE", "hard": u64::MAX, "soft": u64::MAX},
            ],
        });
        assert_eq!(description["process"], expected);
        assert_eq!(description["hostname"], "n");
    }

    #[test]
    fn a_process_for_exec_is_the_whole_description() {
        let mut description = process();
        sandboxed().restrict(&Described::Process(PathBuf::new()), &mut description);
        assert_eq!(description["capabilities"]["effective"], json!(["CAP_CHOWN", "CAP_SYS_ADMIN"]));
        assert_eq!(description["oomScoreAdj"], 0);
    }

    #[test]
    fn nothing_is_changed_where_nothing_lacks() {
        let means = Means { bounding: 0x1ff_ffff_ffff, ..sandboxed() };
        assert_eq!(means.lacking(), Vec::<&str>::new());
        let mut description = process();
        means.restrict(&Described::Process(PathBuf::new()), &mut description);
        assert_eq!(description, process());
    }

    #[test]
    fn what_lacks_is_told_by_name_and_what_the_kernel_does_not_know_does_not_lack() {
        assert_eq!(sandboxed().lacking(), ["CAP_SYS_RESOURCE"]);
        // A kernel before CAP_PERFMON.
        let older = Means { bounding: 0x3f_ffff_ffff, known: 38, ..sandboxed() };
        assert_eq!(older.lacking(), Vec::<&str>::new());
    }

    #[test]
    fn a_description_that_is_not_understood_is_left_alone() {
        for odd in [json!(null), json!([]), json!({"process": 1}), json!({"process": {"capabilities": []}})] {
            let mut description = odd.clone();
            sandboxed().restrict(&Described::Container(PathBuf::new()), &mut description);
            assert_eq!(description, odd);
        }
    }

    #[test]
    fn the_description_is_found_in_the_calls_that_containerd_makes() {
        let container = |path: &str| Some(Described::Container(path.into()));
        let process = |path: &str| Some(Described::Process(path.into()));
        for (line, expected) in [
            (
                "--root /r --log /l --log-format json create --bundle /b --pid-file /p id",
                container("/b/config.json"),
            ),
            ("create --bundle=/b id", container("/b/config.json")),
            ("run -b /b id", container("/b/config.json")),
            ("create id", container("config.json")),
            ("--root /r exec --process /tmp/p --console-socket /s --detach id", process("/tmp/p")),
            ("exec -p /tmp/p id", process("/tmp/p")),
            ("exec id sh", None),
            ("--root /r state id", None),
            ("--version", None),
        ] {
            assert_eq!(Described::of_call(&args(line)), expected, "{line}");
        }
    }

    #[test]
    fn sets_and_limits_are_read_from_proc() {
        assert_eq!(bounding_set("CapEff:\t0\nCapBnd:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(bounding_set("CapEff:\t0\n"), None);
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(hard_limits(text), [("RLIMIT_CORE", None), ("RLIMIT_NOFILE", Some(524_288))]);
        Means::own().unwrap();
    }
}
