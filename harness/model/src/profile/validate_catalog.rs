//! Finds values of a catalog that make no sense, or that Kubernetes would refuse or round.

use std::collections::BTreeSet;
use std::path::Path;

use api::quantity::Amount;

use super::catalog::{Archetype, Catalog};
use super::error::Problem;
use super::kubernetes::{self, LABEL_MAX};
use super::priorities::Seeded;
use super::validate::{PODS_PER_CLUSTER_MAX, PODS_PER_NODE_MAX};

/// Returns the problems of a catalog, given the PriorityClasses of `fixtures`.
pub fn catalog(c: &Catalog, fixtures: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    zones(c, &mut problems);
    if !(0.0..0.5).contains(&c.ceiling_margin) {
        problems.push(Problem::new(
            "ceilingMargin",
            format!("is {}, but must be within 0 and 0.5", c.ceiling_margin),
        ));
    }
    if c.archetypes.is_empty() {
        problems.push(Problem::new("archetypes", "is empty"));
    }
    let seeded = Seeded::read(fixtures);
    for (name, a) in &c.archetypes {
        let path = format!("archetypes.{name}");
        // The name becomes part of the names of its objects and Pods.
        problems.extend(kubernetes::dns_label(name).err().map(|why| Problem::new(&path, why)));
        let mut refuse =
            |key: &str, message: String| problems.push(Problem::new(&format!("{path}.{key}"), message));
        archetype(a, &mut refuse);
        requests(a, &mut refuse);
        together(a, &mut refuse);
        let priority = seeded.as_ref().map_err(Clone::clone).and_then(|seeded| seeded.check(a.priority));
        priority.unwrap_or_else(|why| refuse("priority", why));
    }
    problems
}

fn zones(c: &Catalog, problems: &mut Vec<Problem>) {
    if c.zones.is_empty() {
        problems.push(Problem::new("zones", "is empty, but a fleet has at least one zone"));
    }
    if c.racks_per_zone == 0 {
        problems.push(Problem::new("racksPerZone", "is 0, but must be at least 1"));
    }
    values("zones", &c.zones, &mut |key: &str, message: String| problems.push(Problem::new(key, message)));
    for (i, zone) in c.zones.iter().enumerate() {
        let rack = format!("{zone}-rack-{}", c.racks_per_zone.saturating_sub(1));
        if zone.len() <= LABEL_MAX && rack.len() > LABEL_MAX {
            let message = format!("is too long: the rack `{rack}` would have {} characters", rack.len());
            problems.push(Problem::new(
                &format!("zones[{i}]"),
                format!("{message}, but at most {LABEL_MAX} are allowed"),
            ));
        }
    }
}

/// Checks the values of one label: each must be a valid label value, and none may occur twice.
fn values(key: &str, values: &[String], refuse: &mut impl FnMut(&str, String)) {
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        let key = format!("{key}[{i}]");
        if let Err(why) = kubernetes::label_value(value) {
            refuse(&key, why);
        } else if !seen.insert(value) {
            refuse(&key, format!("`{value}` is given twice"));
        }
    }
}

fn archetype(a: &Archetype, refuse: &mut impl FnMut(&str, String)) {
    if a.instance_types.is_empty() {
        refuse("instanceTypes", "is empty".into());
    }
    values("instanceTypes", &a.instance_types, refuse);
    match a.pods_per_node {
        Some(0) => refuse("podsPerNode", "is 0, but must be at least 1".into()),
        Some(n) if n > PODS_PER_NODE_MAX => refuse(
            "podsPerNode",
            format!("is {n}, beyond {PODS_PER_NODE_MAX} (the Pods that node-creator lets a Node hold)"),
        ),
        _ => {}
    }
    if !(a.weight.is_finite() && a.weight >= 0.0) {
        refuse("weight", format!("is {}, but must be 0 or more", a.weight));
    }
    for (key, penalty) in
        [("interruptionPenalty", &a.interruption_penalty), ("reclamationPenalty", &a.reclamation_penalty)]
    {
        let Some(dollars) = penalty else { continue };
        if !dollars.parse::<Amount>().is_ok_and(|amount| !amount.is_negative()) {
            refuse(key, format!("is `{dollars}`, but takes dollars, for example \"32\""));
        }
    }
    if a.lifetime.is_some_and(|lifetime| lifetime.0.is_zero()) {
        refuse("lifetime", "is 0s, but must be longer; leave it out for Pods that live on".into());
    }
}

fn requests(a: &Archetype, refuse: &mut impl FnMut(&str, String)) {
    let weights: u64 = a.sizes.iter().map(|s| u64::from(s.weight)).sum();
    if weights == 0 {
        refuse("sizes", "needs at least one size with a weight".into());
    }
    if weights > u64::from(u32::MAX) {
        refuse("sizes", format!("has weights that add up to {weights}, beyond {}", u32::MAX));
    }
    for (i, size) in a.sizes.iter().enumerate() {
        let key = format!("sizes[{i}].requests");
        if size.requests.is_empty() {
            refuse(&key, "is empty".into());
        }
        if let Err(why) = kubernetes::requests(&size.requests) {
            refuse(&key, why);
        }
        for (resource, quantity) in &size.requests {
            let checked = kubernetes::resource_name(resource)
                .and_then(|()| kubernetes::request(resource, quantity, PODS_PER_NODE_MAX));
            if let Err(why) = checked {
                refuse(&format!("{key}.{resource}"), why);
            }
        }
    }
}

/// Checks how Pods are placed relative to each other.
fn together(a: &Archetype, refuse: &mut impl FnMut(&str, String)) {
    if let Some(gang) = &a.gang
        && (gang.min == 0 || gang.max < gang.min || gang.max > PODS_PER_CLUSTER_MAX)
    {
        refuse(
            "gang",
            format!(
                "goes from {} to {} Pods; min must be at least 1 and at most max, and max at most \
                 {PODS_PER_CLUSTER_MAX}",
                gang.min, gang.max
            ),
        );
    }
    if let Some(spread) = &a.spread {
        if !(0.0..=1.0).contains(&spread.probability) {
            refuse("spread.probability", format!("is {}, but must be within 0 and 1", spread.probability));
        }
        if spread.max_skew < 1 {
            refuse("spread.maxSkew", format!("is {}, but must be at least 1", spread.max_skew));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{fixtures_dir, load};

    /// Returns the problems reported for a catalog with one change.
    fn told(change: impl FnOnce(&mut Catalog)) -> Vec<String> {
        let mut c = load(&fixtures_dir(), "smoke", &[]).unwrap().catalog;
        change(&mut c);
        catalog(&c, &fixtures_dir()).iter().map(ToString::to_string).collect()
    }

    fn tiny(c: &mut Catalog) -> &mut Archetype {
        c.archetypes.get_mut("tiny-stateless").unwrap()
    }

    fn ask(c: &mut Catalog, resource: &str, quantity: &str) {
        tiny(c).sizes[0].requests.insert(resource.into(), quantity.into());
    }

    fn rename(c: &mut Catalog, name: &str) {
        let archetype = c.archetypes.remove("tiny-stateless").unwrap();
        c.archetypes.insert(name.into(), archetype);
    }

    type Change = fn(&mut Catalog);

    #[test]
    fn what_kubernetes_would_refuse_or_round_is_named_by_its_key() {
        let tiny_key = |key: &str| format!("archetypes.tiny-stateless.{key}: ");
        let requests = |resource: &str| tiny_key(&format!("sizes[0].requests.{resource}"));
        let cases: [(Change, String, &str); 22] = [
            (|c| ask(c, "memory", "512m"), requests("memory"), "did you mean 512Mi"),
            (|c| ask(c, "mem", "500Mi"), requests("mem"), "did you mean `memory`"),
            (|c| ask(c, "cpu", "0.5m"), requests("cpu"), "rounds"),
            (|c| ask(c, "gpu", "1"), requests("gpu"), "need a domain"),
            (|c| ask(c, "nvidia.com/gpu", "1500m"), requests("nvidia.com/gpu"), "whole units"),
            (|c| ask(c, "hugepages-2Mi", "3Mi"), requests("hugepages-2Mi"), "its pages"),
            (|c| c.zones[1] = c.zones[0].clone(), "zones[1]: ".into(), "given twice"),
            (|c| c.zones[1] = "zone b".into(), "zones[1]: ".into(), "not the value of a label"),
            (|c| c.zones[1] = String::new(), "zones[1]: ".into(), "not the value of a label"),
            (|c| c.zones[1] = "z".repeat(60), "zones[1]: ".into(), "the rack"),
            (|c| c.racks_per_zone = 0, "racksPerZone: ".into(), "is 0"),
            (|c| rename(c, "Web_Frontend"), "archetypes.Web_Frontend: ".into(), "use a-z"),
            (|c| tiny(c).instance_types = vec!["m6i large".into()], tiny_key("instanceTypes[0]"), "a label"),
            (
                |c| tiny(c).instance_types = vec!["a".into(), "a".into()],
                tiny_key("instanceTypes[1]"),
                "twice",
            ),
            (|c| tiny(c).priority = 500, tiny_key("priority"), "use 100 or 1000,"),
            (|c| tiny(c).priority = i32::MAX, tiny_key("priority"), "use 1000000 or 1000,"),
            (|c| tiny(c).pods_per_node = Some(1101), tiny_key("podsPerNode"), "beyond 1100"),
            (
                |c| tiny(c).interruption_penalty = Some("$5".into()),
                tiny_key("interruptionPenalty"),
                "dollars",
            ),
            (|c| tiny(c).reclamation_penalty = Some("-1".into()), tiny_key("reclamationPenalty"), "dollars"),
            (|c| tiny(c).lifetime = Some(crate::profile::Span::default()), tiny_key("lifetime"), "is 0s"),
            (|c| tiny(c).sizes[0].weight = 0, tiny_key("sizes"), "with a weight"),
            (|c| tiny(c).sizes.clear(), tiny_key("sizes"), "with a weight"),
        ];
        assert_eq!(told(|_| {}), [] as [&str; 0]);
        for (change, key, reason) in cases {
            let told = told(change);
            assert_eq!(told.len(), 1, "{key}{reason}: {told:?}");
            assert!(told[0].starts_with(&key) && told[0].contains(reason), "{key}{reason}: {told:?}");
        }
    }
}
