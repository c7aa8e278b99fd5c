//! Where the two programs differ, and where they may: only `fixtures/stories/intended-differences.yaml` defines that.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::Deserialize;

use crate::story::fixture;
use crate::view::{NODE, View};

/// One fact that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Difference {
    /// Key of the fact.
    pub fact: String,
    /// Its value with node-creator; `none` if there is no such fact.
    pub node_creator: String,
    /// Its value with pod-shim.
    pub pod_shim: String,
}

/// An intended difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intended {
    /// Its name in snapshots and failures.
    pub name: String,
    /// Why it is intended.
    pub why: String,
    /// Facts that may differ in any story, and do in at least one.
    #[serde(default)]
    pub anywhere: Vec<Difference>,
    /// Facts that differ in the named story.
    #[serde(default)]
    pub stories: BTreeMap<String, Vec<Difference>>,
}

/// Differences by story.
pub type Differences = BTreeMap<String, Vec<Difference>>;

/// Loads the list.
///
/// # Errors
/// As for [`fixture`], or when an entry gives no reason.
pub fn intended() -> anyhow::Result<Vec<Intended>> {
    let list: Vec<Intended> = fixture("intended-differences.yaml")?;
    for entry in &list {
        ensure!(!entry.why.is_empty(), "intended-differences.yaml: {} has no reason", entry.name);
    }
    Ok(list)
}

/// Returns the differences between the two programs' views of one story. If one has a Node and the other has none, that
/// is the only difference, and not each of the Node's fields.
pub fn differences(node_creator: &View, pod_shim: &View) -> Vec<Difference> {
    let none = "none";
    let of = |view: &View, key: &str| view.get(key).map_or(none, String::as_str).to_owned();
    let one_has_no_node = [node_creator, pod_shim].iter().any(|view| of(view, NODE) == none);
    let keys = node_creator.keys().chain(pod_shim.keys().filter(|key| !node_creator.contains_key(*key)));
    let mut found: Vec<Difference> = keys
        .filter(|key| !(one_has_no_node && key.starts_with("node.")))
        .map(|key| Difference {
            fact: key.clone(),
            node_creator: of(node_creator, key),
            pod_shim: of(pod_shim, key),
        })
        .filter(|difference| difference.node_creator != difference.pod_shim)
        .collect();
    found.sort();
    found
}

/// Returns the entry of the list that allows a difference in a story.
pub fn allowed_by<'a>(list: &'a [Intended], story: &str, difference: &Difference) -> Option<&'a str> {
    let here = |entry: &&Intended| {
        let in_story = entry.stories.get(story).is_some_and(|all| all.contains(difference));
        in_story || entry.anywhere.contains(difference)
    };
    list.iter().find(here).map(|entry| entry.name.as_str())
}

/// Checks that every difference in a story is on the list.
///
/// # Errors
/// Names story, fact and both values of each difference that is not.
pub fn none_is_unlisted(list: &[Intended], found: &Differences) -> anyhow::Result<()> {
    let mut unlisted = Vec::new();
    for (story, differences) in found {
        for d in differences.iter().filter(|d| allowed_by(list, story, d).is_none()) {
            unlisted.push(format!(
                "{story}: {}: node-creator {:?}, pod-shim {:?}",
                d.fact, d.node_creator, d.pod_shim
            ));
        }
    }
    ensure!(
        unlisted.is_empty(),
        "{} differences are not in fixtures/stories/intended-differences.yaml:\n  {}",
        unlisted.len(),
        unlisted.join("\n  ")
    );
    Ok(())
}

/// Checks that every difference on the list occurs.
///
/// # Errors
/// Names those that do not.
pub fn all_occur(list: &[Intended], found: &Differences) -> anyhow::Result<()> {
    let mut gone = Vec::new();
    for entry in list {
        let anywhere = entry.anywhere.iter().map(|d| (None, d));
        let in_stories =
            entry.stories.iter().flat_map(|(story, all)| all.iter().map(move |d| (Some(story), d)));
        for (story, d) in anywhere.chain(in_stories) {
            let occurs = match story {
                Some(story) => found.get(story).is_some_and(|all| all.contains(d)),
                None => found.values().any(|all| all.contains(d)),
            };
            if !occurs {
                let place = story.map_or("any story", String::as_str);
                gone.push(format!(
                    "{} in {place}: {}: node-creator {:?}, pod-shim {:?}",
                    entry.name, d.fact, d.node_creator, d.pod_shim
                ));
            }
        }
    }
    ensure!(
        gone.is_empty(),
        "{} differences of fixtures/stories/intended-differences.yaml do not occur any more; take them out:\n  {}",
        gone.len(),
        gone.join("\n  ")
    );
    Ok(())
}
