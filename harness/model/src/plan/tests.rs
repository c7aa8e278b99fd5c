//! Tests of what a plan promises: exact sums, the machine counts of the table, refusals, reproducibility.

use std::collections::BTreeSet;

use super::*;
use crate::profile::{fixtures_dir, load};

/// Digest from `cargo xtask plan`. If it changes, runs from before and after the change cannot be compared.
const DEV_50_DIGEST: &str = "ca9e74802c2b22abd668ca3db67c8ec4a537c9869586b1c0c3f0d7d423e7e8fb";
const DEV_500_DIGEST: &str = "861dd859506959848670be65e9c9e0ae8ddd7a0d61fa784557b38851d920eaa6";

fn plan_of(profile: &str, overrides: &[&str]) -> Result<Plan, PlanError> {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    derive(&load(&fixtures_dir(), profile, &overrides).unwrap())
}

fn machines(plan: &Plan) -> Vec<u32> {
    let order = [
        "tiny-stateless",
        "cpu-service",
        "cpu-batch",
        "critical-realtime",
        "memory-cache",
        "stateful-db",
        "gpu-inference",
        "gpu-training-small",
        "gpu-training-medium",
    ];
    let needs = &plan.clusters[0].needs;
    order.iter().map(|a| needs.iter().filter(|n| n.archetype == *a).map(|n| n.machines).sum()).collect()
}

#[test]
fn dev_500_takes_122_machines_per_cluster() {
    let plan = plan_of("dev-500", &[]).unwrap();
    assert_eq!(machines(&plan), [75, 12, 7, 3, 2, 3, 12, 4, 4]);
    assert!(plan.clusters.iter().all(|c| c.machines == 122 && c.pods == 10_000));
    assert_eq!((plan.totals.pods, plan.totals.machines), (50_000, 610));
}

#[test]
fn dev_50_takes_38_machines_per_cluster() {
    let plan = plan_of("dev-50", &[]).unwrap();
    assert_eq!(machines(&plan), [17, 3, 2, 3, 2, 1, 2, 4, 4]);
    assert!(plan.clusters.iter().all(|c| c.machines == 38 && c.pods == 2_500));
    assert_eq!((plan.totals.pods, plan.totals.machines), (5_000, 76));
    let tiny = plan.clusters[0].needs.iter().find(|n| n.name == "tiny-stateless").unwrap();
    assert_eq!((tiny.machines_min, tiny.machines_max), (14, 20));
    assert_eq!(plan.shapes["tiny-stateless"].idle, 44, "2 x 20 at the peak of the wave, and a tenth");
    assert_eq!(plan.shapes["cpu-service"].idle, 9, "2 x 3, and a tenth as one more in each zone");
    assert_eq!(plan.shapes["gpu-training-small"].idle, 12, "two racks of 4, and a tenth as one more");
}

#[test]
fn every_profile_has_a_plan_with_unique_fingerprints() {
    for profile in
        ["smoke", "dev-50", "dev-500", "5k", "uber-5k", "dev-50-realistic", "density", "two-schedulers"]
    {
        let plan = plan_of(profile, &[]).unwrap_or_else(|e| panic!("{profile}: {e}"));
        let workloads = || plan.clusters.iter().flat_map(|c| &c.workloads);
        assert_eq!(workloads().map(|w| u64::from(w.replicas)).sum::<u64>(), plan.totals.pods, "{profile}");
        let prints: BTreeSet<&String> = workloads().map(|w| &w.fingerprint).collect();
        assert_eq!(prints.len(), plan.totals.objects as usize, "{profile}");
        let ids: BTreeSet<&String> = plan.inventory.machines.iter().map(|m| &m.id).collect();
        assert_eq!(ids.len(), plan.inventory.machines.len(), "{profile}");
    }
}

#[test]
fn a_seed_decides_the_bytes() {
    let a = plan_of("dev-50", &[]).unwrap();
    assert_eq!(a.to_json(), plan_of("dev-50", &[]).unwrap().to_json());
    assert_eq!(a.digest(), plan_of("dev-50", &[]).unwrap().digest());
    let b = plan_of("dev-50", &["seed=51"]).unwrap();
    let shape =
        |p: &Plan| p.clusters.iter().flat_map(|c| &c.workloads).map(|w| w.replicas).collect::<Vec<_>>();
    assert_ne!(shape(&a), shape(&b));
    assert_ne!(a.digest(), b.digest());
    let back: Plan = serde_json::from_str(&a.to_json()).unwrap();
    assert_eq!(back, a);
}

#[test]
fn clusters_differ_in_objects_but_not_in_needs() {
    let plan = plan_of("dev-50", &[]).unwrap();
    let replicas = |i: usize| plan.clusters[i].workloads.iter().map(|w| w.replicas).collect::<Vec<_>>();
    assert_ne!(replicas(0), replicas(1));
    let sizes = |i: usize| plan.clusters[i].needs.iter().map(|n| n.machines).collect::<Vec<_>>();
    assert_eq!(sizes(0), sizes(1));
}

#[test]
fn refusals_say_what_is_wrong_and_by_how_much() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["inventory.idlePerShape.tiny-stateless=30"],
            "shape tiny-stateless (m6i.large) is short of 10 machines:",
        ),
        (&["inventory.idlePerShape.cpu-service=5"], "short of 1 machines in zone-c: 2 needed, 1 seeded"),
        (&["inventory.idlePerShape.gpu-training-small=7"], "short of 4 machines in whole racks"),
        (
            &["podsPerArchetype.cpu-batch=200", "podsPerArchetype.tiny-stateless=1600"],
            "Need cpu-batch is 2.00 machines (200 Pods), within 0.1 of 2",
        ),
        (
            &["podsPerArchetype.gpu-training-small=6", "podsPerArchetype.tiny-stateless=1648"],
            "6 Pods of gpu-training-small cannot be made of gangs of 4 to 4",
        ),
    ];
    for (overrides, expected) in cases {
        let error = plan_of("dev-50", overrides).unwrap_err().to_string();
        assert!(error.contains(expected), "{overrides:?}: {error}");
    }
    let uneven =
        ["podsPerArchetype.cpu-service=150", "podsPerArchetype.tiny-stateless=1750", "demandWave=null"];
    let error = plan_of("dev-50", &uneven).unwrap_err().to_string();
    assert!(error.contains("cpu-service takes 2 machines, which 3 zones cannot share equally"), "{error}");
}

#[test]
fn digests_are_those_of_the_first_version() {
    // Digests as of d8842ec. A different digest makes every earlier run of the profile a run of a different plan:
    // reports lose their history, and `calibrate` and `compare` refuse to combine old and new runs. A new key of a
    // profile therefore has a serde default and is skipped when it has that value; anything else that is new goes
    // through `Plan::as_first_written`.
    for (profile, digest) in [("dev-50", DEV_50_DIGEST), ("dev-500", DEV_500_DIGEST)] {
        let plan = plan_of(profile, &[]).unwrap();
        assert_eq!(plan.digest(), digest, "{profile}");
        let read: Plan = serde_json::from_str(&plan.to_json()).unwrap();
        assert_eq!(read.digest(), digest, "{profile}, as a run directory has it");
    }
}

#[test]
fn a_limit_that_nobody_gave_is_part_of_the_digest_only_where_it_is_another_than_it_was() {
    let limit = |mib: u32| format!("controlPlane.apiserverGomemlimitMib={mib}");
    let with = |mib: u32| {
        let mut plan = plan_of("dev-50", &[&limit(mib)]).unwrap();
        plan.overrides.clear();
        plan.digest()
    };
    assert_eq!(with(2048), DEV_50_DIGEST);
    assert_ne!(with(2049), DEV_50_DIGEST);
}

#[test]
fn a_machine_too_small_is_refused_with_the_numbers() {
    let check = |profile: &str, gib: u64| {
        let plan = plan_of(profile, &[]).unwrap();
        memory::check(&plan.profile, memory::Planes::Local, gib * 1024)
    };
    let error = check("5k", 24).unwrap_err().to_string();
    assert!(error.contains("20 clusters of 25000 Pods") && error.contains("whose limit is 6144"), "{error}");
    assert!(error.contains("this machine has 24.0 GiB"), "{error}");
    assert_eq!(check("dev-500", 20), Ok(()));
}

#[test]
fn counts_that_do_not_divide_are_ranges_where_the_profile_says_that_they_are_not_exact() {
    let uneven = [
        "podsPerArchetype.cpu-service=150",
        "podsPerArchetype.cpu-batch=200",
        "podsPerArchetype.tiny-stateless=1700",
        "demandWave=null",
    ];
    let refused = plan_of("dev-50", &uneven).unwrap_err().to_string();
    assert!(
        refused.contains("cpu-service takes 2 machines") && refused.contains("exact: false"),
        "{refused}"
    );
    let plan = plan_of("dev-50", &[&uneven[..], &["exact=false"]].concat()).unwrap();
    let quiet = |archetype: &str| {
        let need = plan.clusters[0].needs.iter().find(|n| n.archetype == archetype).unwrap();
        need.machines_quiet(&plan.profile, &plan.catalog)
    };
    assert_eq!(quiet("cpu-service"), (2, 3), "a half machine in each of three zones, or two whole ones");
    assert_eq!(quiet("cpu-batch"), (2, 3), "at the edge");
    assert_eq!(quiet("memory-cache"), (2, 2), "far from it");
    assert_eq!(quiet("gpu-training-small"), (4, 4), "a gang");
    let exact = plan_of("dev-50", &[]).unwrap();
    assert_eq!(exact.machines_quiet(&exact.clusters), (76, 76));
    let model = memory::of_this_machine(&plan.profile, memory::Planes::Local, 24 * 1024);
    assert!(plan.render(2, &model).contains("–"), "{}", plan.render(2, &model));
}

#[test]
fn a_name_that_gets_too_long_is_refused_with_what_is_too_much() {
    let named = |name: &str, kind: Kind| {
        let mut loaded = load(&fixtures_dir(), "smoke", &[]).unwrap();
        let archetype = loaded.catalog.archetypes.remove("tiny-stateless").unwrap();
        loaded.catalog.archetypes =
            [(name.to_owned(), crate::profile::Archetype { kind, ..archetype })].into();
        loaded.profile.pods_per_archetype = [(name.to_owned(), 150)].into();
        derive(&loaded).map(drop)
    };
    // The name is preceded by `kwok-cluster-0-` and followed by `-<index>`.
    let told = named(&"s".repeat(40), Kind::StatefulSet).unwrap_err().to_string();
    assert!(told.contains("the StatefulSet") && told.contains("allows at most 52;"), "{told}");
    assert_eq!(named(&"d".repeat(40), Kind::Deployment), Ok(()));
    let told = named(&"d".repeat(63), Kind::Deployment).unwrap_err().to_string();
    assert!(told.contains("the Deployment") && told.contains("allows at most 63;"), "{told}");
}

#[test]
fn machines_hold_exactly_density_pods_and_zones_are_balanced() {
    let plan = plan_of("dev-50", &[]).unwrap();
    assert_eq!(plan.shapes["tiny-stateless"].allocatable["cpu"], "40");
    assert_eq!(plan.shapes["gpu-inference"].allocatable["nvidia.com/gpu"], "8");
    assert_eq!(plan.shapes["gpu-training-small"].allocatable["nvidia.com/gpu"], "8");
    for shape in ["tiny-stateless", "cpu-service"] {
        let of_shape = || plan.inventory.machines.iter().filter(|m| m.labels[api::names::ARCHETYPE] == shape);
        let per_zone: Vec<usize> =
            plan.catalog.zones.iter().map(|z| of_shape().filter(|m| &m.zone == z).count()).collect();
        assert!(
            per_zone.iter().max().unwrap() - per_zone.iter().min().unwrap() <= 1,
            "{shape}: {per_zone:?}"
        );
    }
}

#[test]
fn the_fill_begins_with_what_spreads_and_interleaves_the_rest() {
    let plan = plan_of("dev-500", &[]).unwrap();
    let cluster = &plan.clusters[0];
    let order = cluster.fill_order();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), cluster.workloads.len());
    let order: Vec<&Workload> = order.iter().map(|i| &cluster.workloads[*i]).collect();
    let mut first: Vec<&str> = order.iter().take_while(|w| w.spread).map(|w| &*w.archetype).collect();
    let rest = &order[first.len()..];
    first.dedup();
    assert_eq!(first, ["cpu-service", "critical-realtime"]);
    assert!(rest.iter().all(|w| !w.spread));
    let half = &rest[..rest.len() / 2];
    let expected = [("tiny-stateless", 0.3..0.7), ("cpu-batch", 0.3..0.7), ("stateful-db", 0.9..1.1)];
    for (archetype, expected) in expected {
        let all: u32 =
            cluster.workloads.iter().filter(|w| w.archetype == archetype).map(|w| w.replicas).sum();
        let so_far: u32 = half.iter().filter(|w| w.archetype == archetype).map(|w| w.replicas).sum();
        let share = f64::from(so_far) / f64::from(all);
        assert!(expected.contains(&share), "{archetype}: {share}");
    }
}

#[test]
fn seeded_configured_machines_serve_their_cluster() {
    let plan = plan_of("dev-50", &["inventory.configuredFraction=1"]).unwrap();
    let configured =
        plan.inventory.machines.iter().filter(|m| m.cluster.as_deref() == Some("kwok-cluster-1"));
    assert_eq!(configured.count(), 38);
    assert_eq!(plan.shapes["stateful-db"].idle, 1);
}

#[test]
fn templates_carry_what_the_archetype_says() {
    let plan = plan_of("dev-50", &[]).unwrap();
    let json = |archetype: &str| {
        let w = plan.clusters[0].workloads.iter().find(|w| w.archetype == archetype).unwrap();
        match template::manifest(&plan.catalog, w, w.replicas) {
            template::Manifest::Deployment(d) => serde_json::to_value(d).unwrap(),
            template::Manifest::StatefulSet(s) => serde_json::to_value(s).unwrap(),
        }
    };
    let gang = json("gpu-training-small");
    let term = "/spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
    assert_eq!(gang.pointer(&format!("{term}/topologyKey")).unwrap(), "topology.bigfleet/rack");
    assert_eq!(gang["spec"]["replicas"], 4);
    let service = json("cpu-service");
    let spread = service.pointer("/spec/template/spec/topologySpreadConstraints/0").unwrap();
    assert_eq!(spread["labelSelector"]["matchLabels"]["scaletest.bigfleet/archetype"], "cpu-service");
    assert_eq!(
        service["spec"]["template"]["metadata"]["annotations"]["bigfleet.lucy.sh/reclamation-penalty"],
        "8192"
    );
    let db = json("stateful-db");
    assert_eq!(db["kind"], "StatefulSet");
    assert_eq!(db["spec"]["serviceName"], db["metadata"]["name"]);
    assert!(db["spec"].get("volumeClaimTemplates").is_none());
    let container = db.pointer("/spec/template/spec/containers/0/resources").unwrap();
    assert_eq!(container["requests"], container["limits"]);
}
