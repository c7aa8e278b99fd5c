//! How many Pods each archetype gets, and how they are divided into workload objects.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use crate::profile::{Archetype, Catalog, Gang, Kind, Profile};

/// Most replicas of a StatefulSet: it starts its Pods one after another.
const STATEFUL_SET_CAP: u32 = 25;

/// Returns a separate generator for every purpose, so that a change in one does not affect the draws of the others.
pub fn rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose.as_bytes()).finalize();
    ChaCha8Rng::from_seed(digest.into())
}

/// Returns the Pods of each archetype in one cluster: as the profile says, or by weight.
///
/// # Errors
/// When gangs cannot add up to the number asked for.
pub fn pods_per_archetype(profile: &Profile, catalog: &Catalog) -> Result<BTreeMap<String, u32>, Refusal> {
    if profile.pods_per_archetype.is_empty() {
        return by_weight(profile.pods_per_cluster, catalog);
    }
    let pods = profile.pods_per_archetype.clone();
    for (name, &count) in &pods {
        if let Some(gang) = &catalog.archetypes[name].gang
            && !reachable(gang, count)
        {
            return Err(Refusal::Unreachable {
                archetype: name.clone(),
                pods: count,
                min: gang.min,
                max: gang.max,
            });
        }
    }
    Ok(pods)
}

/// Splits the Pods by largest remainder of `weight x E[replicas]` (upstream's podShare). The Pods of a gang archetype
/// are rounded up to a number that gangs can add up to, at the cost of the largest archetype without gangs.
fn by_weight(total: u32, catalog: &Catalog) -> Result<BTreeMap<String, u32>, Refusal> {
    let shares: Vec<(&String, f64)> =
        catalog.archetypes.iter().map(|(name, a)| (name, a.weight * mean_replicas(a))).collect();
    let sum: f64 = shares.iter().map(|(_, s)| s).sum();
    let exact = |share: f64| f64::from(total) * share / sum;
    let mut pods: BTreeMap<String, u32> =
        shares.iter().map(|(name, share)| ((*name).clone(), exact(*share).floor() as u32)).collect();
    let mut by_remainder = shares.clone();
    by_remainder.sort_by(|a, b| exact(b.1).fract().total_cmp(&exact(a.1).fract()).then(a.0.cmp(b.0)));
    let missing = total - pods.values().sum::<u32>();
    for (name, _) in by_remainder.iter().cycle().take(missing as usize) {
        *pods.get_mut(*name).expect("every archetype must have a count") += 1;
    }
    let plain = shares.iter().filter(|(n, _)| catalog.archetypes[*n].gang.is_none());
    let largest = plain.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| (*name).clone());
    for (name, gang) in catalog.archetypes.iter().filter_map(|(n, a)| Some((n, a.gang.as_ref()?))) {
        let wanted = pods[name];
        let up = (wanted..wanted + gang.max + 1).find(|n| reachable(gang, *n)).unwrap_or(0);
        let refusal =
            || Refusal::Unreachable { archetype: name.clone(), pods: wanted, min: gang.min, max: gang.max };
        let payer = largest.as_ref().and_then(|l| pods.get_mut(l)).ok_or_else(refusal)?;
        *payer = payer.checked_sub(up - wanted).ok_or_else(refusal)?;
        pods.insert(name.clone(), up);
    }
    Ok(pods)
}

/// Returns the expected replicas of one object: the mean of the distribution below, with or without the cap.
fn mean_replicas(archetype: &Archetype) -> f64 {
    match (&archetype.gang, archetype.kind) {
        (Some(gang), _) => f64::from(gang.min + gang.max) / 2.0,
        (None, Kind::Deployment) => 21.375,
        (None, Kind::StatefulSet) => 10.05,
    }
}

/// Whether some number of gangs adds up to exactly that many Pods.
pub fn reachable(gang: &Gang, pods: u32) -> bool {
    pods == 0 || {
        let fewest = pods.div_ceil(gang.max);
        u64::from(fewest) * u64::from(gang.min) <= u64::from(pods)
    }
}

/// Draws the replicas of the objects of one archetype. They add up to exactly `pods`; the last object is cut to fit.
pub fn replicas(archetype: &Archetype, pods: u32, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut left = pods;
    let mut objects = Vec::new();
    while left > 0 {
        let drawn = match &archetype.gang {
            Some(gang) => gang_size(gang, left, rng),
            None if archetype.kind == Kind::StatefulSet => service_size(rng).min(STATEFUL_SET_CAP),
            None => service_size(rng),
        };
        let taken = drawn.min(left);
        objects.push(taken);
        left -= taken;
    }
    objects
}

/// Draws from upstream's service-size distribution: many small services, few large ones. Mean 21.375.
fn service_size(rng: &mut ChaCha8Rng) -> u32 {
    match rng.random_range(0..100_u32) {
        0..55 => rng.random_range(1..=5),
        55..85 => rng.random_range(6..=25),
        85..97 => rng.random_range(26..=100),
        _ => rng.random_range(101..=400),
    }
}

/// Draws a gang that leaves a remainder to which gangs can still add up.
fn gang_size(gang: &Gang, left: u32, rng: &mut ChaCha8Rng) -> u32 {
    let fits: Vec<u32> = (gang.min..=gang.max).filter(|g| *g <= left && reachable(gang, left - g)).collect();
    // Unreachable counts are refused earlier; taking the rest as one gang keeps the loop finite in any case.
    if fits.is_empty() { left } else { fits[rng.random_range(0..fits.len())] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{GangScope, Size};

    fn archetype(kind: Kind, gang: Option<Gang>) -> Archetype {
        Archetype {
            kind,
            weight: 1.0,
            sizes: vec![Size { weight: 1, requests: BTreeMap::new() }],
            instance_types: vec![],
            pods_per_node: None,
            priority: 0,
            scheduler_name: None,
            interruption_penalty: None,
            reclamation_penalty: None,
            gang,
            spread: None,
            lifetime: None,
        }
    }

    #[test]
    fn objects_add_up_exactly_and_follow_the_distribution() {
        let all = replicas(&archetype(Kind::Deployment, None), 200_000, &mut rng(1, "test"));
        assert_eq!(all.iter().sum::<u32>(), 200_000);
        let share =
            |low, high| all.iter().filter(|r| (low..=high).contains(*r)).count() as f64 / all.len() as f64;
        for (low, high, expected) in [(1, 5, 0.55), (6, 25, 0.30), (26, 100, 0.12), (101, 400, 0.03)] {
            assert!((share(low, high) - expected).abs() < 0.02, "{low}..{high}: {}", share(low, high));
        }
    }

    #[test]
    fn stateful_sets_are_capped_and_gangs_keep_their_size() {
        let sets = replicas(&archetype(Kind::StatefulSet, None), 5_000, &mut rng(1, "test"));
        assert_eq!(*sets.iter().max().unwrap(), STATEFUL_SET_CAP);
        let gang = Gang { scope: GangScope::SameRack, min: 3, max: 5 };
        let gangs = replicas(&archetype(Kind::Deployment, Some(gang)), 61, &mut rng(1, "test"));
        assert_eq!(gangs.iter().sum::<u32>(), 61);
        assert!(gangs.iter().all(|g| (3..=5).contains(g)), "{gangs:?}");
    }

    #[test]
    fn some_counts_cannot_be_made_of_gangs() {
        let gang = Gang { scope: GangScope::SameRack, min: 4, max: 5 };
        let bad: Vec<u32> = (0..20).filter(|n| !reachable(&gang, *n)).collect();
        assert_eq!(bad, [1, 2, 3, 6, 7, 11]);
    }
}
