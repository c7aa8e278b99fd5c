//! What an interruption costs: a Pod's annotations first, then the defaults of its PriorityClass.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use api::names;
use api::quantity::Amount;
use component::slim::Pod;
use serde::Deserialize;

/// Defaults by PriorityClass name, as read from `--priority-class-defaults`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct PenaltyDefaults(BTreeMap<String, ClassDefaults>);

/// One class's penalties in dollars, as quantities.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassDefaults {
    /// Dollars for interrupting a workload once.
    pub interruption_penalty: Option<String>,
    /// Dollars tied to one particular machine.
    pub reclamation_penalty: Option<String>,
}

/// A Pod's two penalties; each resolves on its own. Absent means $0 to the shard, in a bucket of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Penalties {
    /// Dollars for interrupting the workload once.
    pub interruption: Option<String>,
    /// Dollars tied to this particular machine.
    pub reclamation: Option<String>,
    /// Annotations that are no quantities; the class default was taken instead.
    pub unreadable: Vec<&'static str>,
}

impl PenaltyDefaults {
    /// Reads the defaults, a YAML map of class name to `interruptionPenalty` and `reclamationPenalty`.
    ///
    /// # Errors
    /// When the file cannot be read, is not of that form, or holds something that is no quantity.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the priority class defaults {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the priority class defaults {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let defaults: Self = serde_saphyr::from_str(text)?;
        for (class, penalties) in &defaults.0 {
            for value in
                [&penalties.interruption_penalty, &penalties.reclamation_penalty].into_iter().flatten()
            {
                value.parse::<Amount>().with_context(|| format!("class {class}"))?;
            }
        }
        Ok(defaults)
    }
}

/// The penalties of `pod`.
pub fn resolve(pod: &Pod, defaults: &PenaltyDefaults) -> Penalties {
    let class = pod.spec.priority_class_name.as_deref().and_then(|name| defaults.0.get(name));
    let mut unreadable = Vec::new();
    let mut one = |annotation: &'static str, default: Option<&String>| {
        let annotated = pod.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
        if let Some(value) = annotated {
            if value.parse::<Amount>().is_ok() {
                return Some(value.clone());
            }
            unreadable.push(annotation);
        }
        default.cloned()
    };
    let interruption = one(names::INTERRUPTION_PENALTY, class.and_then(|c| c.interruption_penalty.as_ref()));
    let reclamation = one(names::RECLAMATION_PENALTY, class.and_then(|c| c.reclamation_penalty.as_ref()));
    Penalties { interruption, reclamation, unreadable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(class: Option<&str>, annotations: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        pod.spec.priority_class_name = class.map(str::to_owned);
        pod.metadata.annotations =
            Some(annotations.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect());
        pod
    }

    fn defaults() -> PenaltyDefaults {
        PenaltyDefaults::parse("core: {interruptionPenalty: \"1024\", reclamationPenalty: \"8192\"}\nhalf: {interruptionPenalty: 500m}")
            .unwrap()
    }

    #[test]
    fn annotation_wins_over_class_and_each_penalty_resolves_alone() {
        let resolved = resolve(&pod(Some("core"), &[(names::INTERRUPTION_PENALTY, "32")]), &defaults());
        assert_eq!(resolved.interruption.as_deref(), Some("32"));
        assert_eq!(resolved.reclamation.as_deref(), Some("8192"));
    }

    #[test]
    fn nothing_given_is_absent() {
        assert_eq!(resolve(&pod(Some("other"), &[]), &defaults()), Penalties::default());
        assert_eq!(resolve(&pod(Some("half"), &[]), &defaults()).reclamation, None);
    }

    #[test]
    fn an_unreadable_annotation_falls_back_and_is_reported() {
        let resolved = resolve(&pod(Some("core"), &[(names::RECLAMATION_PENALTY, "a lot")]), &defaults());
        assert_eq!(resolved.reclamation.as_deref(), Some("8192"));
        assert_eq!(resolved.unreadable, [names::RECLAMATION_PENALTY]);
    }

    #[test]
    fn a_bad_file_names_the_class_or_the_key() {
        let error = PenaltyDefaults::parse("core: {interruptionPenalty: much}").unwrap_err();
        assert!(format!("{error:#}").contains("class core"), "{error:#}");
        let error = PenaltyDefaults::parse("core: {penalty: \"1\"}").unwrap_err();
        assert!(format!("{error:#}").contains("penalty"), "{error:#}");
    }
}
