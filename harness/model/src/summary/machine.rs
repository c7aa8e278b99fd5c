//! The class of machine that a run was measured on: figures of two classes say nothing about each other.

use serde::Deserialize;
use serde_json::Value;

use crate::provider::ProviderName;

/// Key of a host's record: the memory limit of each apiserver, MiB.
pub const APISERVER_GOMEMLIMIT_MIB: &str = "apiserver_gomemlimit_mib";

/// Returns the class of a host as recorded in a run: cores, memory to the GiB and processor, for example
/// `2 cores / 24 GiB / AMD EPYC`. `/ kind` is added if control planes ran in kind clusters, where kubelet and
/// containerd take their share of the machine, and `/ no SCHED_BATCH` if the machine refuses that scheduling class.
///
/// Kernel and load are left out because they change on one machine. Returns `None` if one of the three was not
/// recorded; such a host does not even share a class with other such hosts. A host whose control planes ran elsewhere
/// has no class either.
pub fn class(host: &Value) -> Option<String> {
    if is_beside_foreign_clusters(host) {
        return None;
    }
    let positive = |key: &str| host[key].as_u64().filter(|n| *n > 0);
    let (cores, memory_mib) = (positive("cores")?, positive("memory_mib")?);
    let processor = host["cpu_model"].as_str().map(processor).filter(|model| !model.is_empty())?;
    let noun = if cores == 1 { "core" } else { "cores" };
    // The memory is rounded because two kernels on one machine reserve different amounts, which differ by some MiB.
    let clusters = if provider(host) == Some(ProviderName::Kind) { " / kind" } else { "" };
    let scheduling = if host["sched_batch"] == false { " / no SCHED_BATCH" } else { "" };
    Some(format!("{cores} {noun} / {} GiB / {processor}{clusters}{scheduling}", (memory_mib + 512) / 1024))
}

/// Whether the control planes were existing clusters, wherever they ran.
pub fn is_beside_foreign_clusters(host: &Value) -> bool {
    provider(host) == Some(ProviderName::Existing)
}

/// Returns how control planes were created; `None` if that was not recorded, as in the oldest runs.
fn provider(host: &Value) -> Option<ProviderName> {
    ProviderName::deserialize(&host["provider"]).ok()
}

/// Returns the processor's name without trademarks and repeated blanks.
fn processor(model: &str) -> String {
    let bare =
        ["(R)", "(r)", "(TM)", "(tm)"].iter().fold(model.to_owned(), |text, mark| text.replace(mark, ""));
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_is_cores_memory_and_processor() {
        let of = |memory_mib: u64, model: &str, load: f64| {
            class(&json!({"cores": 2, "memory_mib": memory_mib, "cpu_model": model, "load1_at_start": load}))
        };
        let epyc = of(24_105, "AMD EPYC", 0.1).unwrap();
        assert_eq!(epyc, "2 cores / 24 GiB / AMD EPYC");
        assert_eq!(of(24_152, "AMD EPYC", 3.0).unwrap(), epyc, "load and some MiB make no other machine");
        assert_eq!(
            of(24_105, "Intel(R)  Xeon(R) Processor", 0.1).unwrap(),
            "2 cores / 24 GiB / Intel Xeon Processor"
        );
        assert_ne!(of(16_000, "AMD EPYC", 0.1).unwrap(), epyc);
        let on = |provider: &str| {
            class(&json!({"cores": 2, "memory_mib": 24_105, "cpu_model": "x", "provider": provider})).unwrap()
        };
        assert_eq!(
            (on("local").as_str(), on("kind").as_str()),
            ("2 cores / 24 GiB / x", "2 cores / 24 GiB / x / kind")
        );
    }

    #[test]
    fn what_was_not_recorded_is_of_no_class() {
        let whole = json!({"cores": 2, "memory_mib": 24_105, "cpu_model": "x"});
        assert!(class(&whole).is_some());
        for (key, value) in [("cores", json!(0)), ("memory_mib", Value::Null), ("cpu_model", json!(" "))] {
            let mut host = whole.clone();
            host[key] = value;
            assert_eq!(class(&host), None, "{key}");
        }
        let mut elsewhere = whole.clone();
        elsewhere["provider"] = json!("existing");
        assert_eq!(class(&elsewhere), None, "figures of this machine say nothing about that one");
        assert_eq!(class(&Value::Null), None);
    }
}
