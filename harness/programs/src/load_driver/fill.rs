//! The first fill: declares all workloads, paced so that schedulers are not starved by controllers.

use harness_model::plan::{ClusterPlan, Workload};
use harness_model::profile::Fill;

use super::cluster::{Cluster, Refused};

/// What to declare next: the object at this index, raised to so many replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index into the cluster's workloads.
    pub index: usize,
    /// Replicas after the step.
    pub replicas: u32,
    /// Replicas that the step adds.
    pub added: u32,
}

/// The steps of a fill: objects in fill order, large ones in parts, gangs and StatefulSets whole.
pub fn steps(plan: &ClusterPlan, fill: &Fill) -> Vec<Step> {
    let largest = fill.step_replicas.min(fill.window_pods);
    let mut steps = Vec::new();
    for index in plan.fill_order() {
        let workload = &plan.workloads[index];
        let part = if workload.gang.is_some() { workload.replicas } else { largest };
        let mut declared = 0;
        while declared < workload.replicas {
            let added = part.min(workload.replicas - declared);
            declared += added;
            steps.push(Step { index, replicas: declared, added });
        }
    }
    steps
}

/// Declares everything. Before each step it waits until the declared but unbound Pods leave room for it; a
/// step larger than the window waits for an empty one.
///
/// # Errors
/// When the apiserver refuses an object for good.
pub async fn run(cluster: &Cluster, plan: &ClusterPlan, fill: &Fill) -> Result<(), Refused> {
    for step in steps(plan, fill) {
        let room = fill.window_pods.saturating_sub(step.added);
        cluster.world.until(|t| t.declared.saturating_sub(t.bound) <= room).await;
        let workload: &Workload = &plan.workloads[step.index];
        cluster.set_replicas(workload, step.replicas).await?;
    }
    let target = plan.pods;
    cluster.world.until(|t| t.bound >= target).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::plan::derive;
    use harness_model::profile::{fixtures_dir, load};

    #[test]
    fn steps_reach_every_object_and_never_exceed_the_step() {
        let plan = derive(&load(&fixtures_dir(), "dev-500", &[]).unwrap()).unwrap();
        let cluster = &plan.clusters[0];
        let fill = Fill { window_pods: 400, step_replicas: 50 };
        let steps = steps(cluster, &fill);
        assert_eq!(steps.iter().map(|s| s.added).sum::<u32>(), 10_000);
        assert!(steps.iter().all(|s| s.added <= 50));
        for (i, w) in cluster.workloads.iter().enumerate() {
            let last = steps.iter().rfind(|s| s.index == i).unwrap();
            assert_eq!(last.replicas, w.replicas, "{}", w.name);
        }
    }
}
