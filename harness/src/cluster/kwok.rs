//! kwok's configuration for one control plane.

/// The Stage that ends a deleted Pod, and its last section.
const STAGE: &str = "name: pod-delete\n";
const AT_ONCE: &str = "  next:\n    delete: true\n";

/// The configuration under which a deleted Pod stays Terminating for so long, from the one under which it goes at
/// once; `None` when that has no such Stage.
pub fn with_pod_termination(config: &str, ms: u64) -> Option<String> {
    if ms == 0 {
        return Some(config.to_owned());
    }
    let (before, stage) = config.split_once(STAGE)?;
    let (selector, after) = stage.split_once(AT_ONCE)?;
    let delay = format!("  delay:\n    durationMilliseconds: {ms}\n");
    Some([before, STAGE, selector, &delay, AT_ONCE, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_pods_is_delayed() {
        let ours = include_str!("../../../fixtures/kwok/kwok.yaml");
        assert_eq!(with_pod_termination(ours, 0).as_deref(), Some(ours));
        let delayed = with_pod_termination(ours, 1500).unwrap();
        let added: Vec<&str> = delayed.lines().filter(|line| line.contains("1500")).collect();
        assert_eq!(added, ["    durationMilliseconds: 1500"]);
        assert_eq!(delayed.lines().count(), ours.lines().count() + 2);
        assert!(delayed.find("1500") > delayed.find("name: pod-delete"));
        assert_eq!(with_pod_termination("kind: Stage", 1), None);
    }
}
