//! What load-driver does to its cluster: create, scale, delete, bind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use component::apiserver;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Semaphore;

use super::failures::Failures;
use super::metrics;
use super::world::{Seen, World};
use harness_model::plan::template::{self, Manifest, NAMESPACE};
use harness_model::plan::{Plan, Workload};
use harness_model::profile::{Kind, Workloads};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A request that has failed for so long, and so often, is no longer a moment's trouble: load is missing.
const TROUBLED_FOR: Duration = Duration::from_secs(9);
const TROUBLED_TIMES: u32 = 5;

/// A request that will never succeed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {}", apiserver::words(.error))]
pub struct Refused {
    what: String,
    error: kube::Error,
}

/// The cluster under load.
pub struct Cluster {
    /// The plan.
    pub plan: Arc<Plan>,
    /// What is known of it.
    pub world: World,
    /// What could not be done to it.
    pub failures: Failures,
    client: Client,
    pods: Api<Pod>,
    /// Requests in flight.
    permits: Semaphore,
}

impl Cluster {
    /// The cluster behind `client`, with at most `concurrency` requests in flight.
    pub fn new(plan: Arc<Plan>, workloads: &[Workload], client: Client, concurrency: u32) -> Self {
        Self {
            world: World::new(workloads),
            failures: Failures::default(),
            pods: Api::namespaced(client.clone(), NAMESPACE),
            client,
            permits: Semaphore::new(concurrency as usize),
            plan,
        }
    }

    /// Takes in that a request was refused for good, so that load is missing.
    pub fn report(&self, refused: &Refused) {
        self.failures.add(refused.what.clone(), apiserver::words(&refused.error));
    }

    /// Asks once for Pods: a watch that is forbidden would be tried again for ever.
    ///
    /// # Errors
    /// When load-driver may not list Pods.
    pub async fn may_follow(&self) -> Result<(), Refused> {
        match self.pods.list_metadata(&ListParams::default().limit(1)).await {
            Err(error) if matches!(apiserver::code(&error), Some(401 | 403)) => {
                Err(Refused { what: "list Pods".into(), error })
            }
            // Whatever else it is may pass.
            _ => Ok(()),
        }
    }

    /// Follows the Pods, for ever.
    pub async fn follow(&self) {
        self.world.follow(Api::namespaced(self.client.clone(), NAMESPACE)).await;
    }

    /// Brings an object to that many replicas: creates it, or scales it. Never deletes it.
    ///
    /// # Errors
    /// When the apiserver refuses for good.
    pub async fn set_replicas(&self, workload: &Workload, replicas: u32) -> Result<(), Refused> {
        let before = self.world.declared(&workload.name).unwrap_or(0);
        if self.plan.profile.workloads == Workloads::Bare {
            // Declared once it is there: who makes up for lost Pods must not take one for lost that is to come.
            for declared in before..replicas {
                self.create_pods(workload, 1).await?;
                self.world.declare(&workload.name, declared + 1);
            }
            return Ok(());
        }
        // Ahead of the request: whoever is cut off in the middle leaves a declaration to be put right, not a
        // change that nobody knows of.
        self.world.declare(&workload.name, replicas);
        if before > 0 {
            return self.scale(workload, replicas).await;
        }
        let created = self.create_object(workload, replicas).await;
        if created.is_err() {
            self.world.declare(&workload.name, 0);
        }
        created
    }

    async fn create_object(&self, workload: &Workload, replicas: u32) -> Result<(), Refused> {
        let what = || format!("create {} {}", workload.kind.as_str(), workload.name);
        let manifest = template::manifest(&self.plan.catalog, workload, replicas);
        let answer = self.insist("create", what, async || match &manifest {
            Manifest::Deployment(d) => apiserver::create(&self.client, &**d).await,
            Manifest::StatefulSet(s) => apiserver::create(&self.client, &**s).await,
        });
        // It may be there from an attempt whose answer was lost.
        match answer.await {
            Err(refused) if apiserver::code(&refused.error) == Some(409) => {
                self.scale(workload, replicas).await
            }
            Err(refused) => Err(refused),
            Ok(()) => {
                metrics::object_created();
                self.create_budget(workload).await
            }
        }
    }

    /// The object's PodDisruptionBudget, if the profile wants any.
    async fn create_budget(&self, workload: &Workload) -> Result<(), Refused> {
        let Some(budget) = self.plan.profile.disruption_budget else { return Ok(()) };
        let budget = template::disruption_budget(workload, budget.max_unavailable);
        let what = || format!("create PodDisruptionBudget {}", workload.name);
        match self.insist("create", what, async || apiserver::create(&self.client, &budget).await).await {
            Err(refused) if apiserver::code(&refused.error) == Some(409) => Ok(()),
            other => other,
        }
    }

    async fn scale(&self, workload: &Workload, replicas: u32) -> Result<(), Refused> {
        let what = || format!("scale {} {} to {replicas}", workload.kind.as_str(), workload.name);
        let patch = json!({"spec": {"replicas": replicas}});
        self.insist("scale", what, async || match workload.kind {
            Kind::Deployment => {
                apiserver::patch::<Deployment>(&self.client, Some(NAMESPACE), &workload.name, &patch).await
            }
            Kind::StatefulSet => {
                apiserver::patch::<StatefulSet>(&self.client, Some(NAMESPACE), &workload.name, &patch).await
            }
        })
        .await
    }

    /// Pods without an owner, from the template of a workload.
    ///
    /// # Errors
    /// When the apiserver refuses for good.
    pub async fn create_pods(&self, workload: &Workload, count: u32) -> Result<(), Refused> {
        let archetype = &self.plan.catalog.archetypes[&workload.archetype];
        let template = template::pod_template(&self.plan.catalog, archetype, workload);
        for _ in 0..count {
            let metadata = ObjectMeta {
                generate_name: Some(format!("{}-", workload.name)),
                namespace: Some(NAMESPACE.into()),
                ..template.metadata.clone().unwrap_or_default()
            };
            let pod = Pod { metadata, spec: template.spec.clone(), status: None };
            let what = || format!("create a Pod of {}", workload.name);
            self.insist("create", what, async || apiserver::create(&self.client, &pod).await).await?;
        }
        Ok(())
    }

    /// Deletes exactly this Pod. That it is gone already is success.
    ///
    /// # Errors
    /// When the apiserver refuses for good.
    pub async fn delete(&self, pod: &Seen) -> Result<(), Refused> {
        // By uid: a StatefulSet's next Pod has the same name.
        let only_this = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        let what = || format!("delete Pod {}", pod.name);
        let answer =
            self.insist("delete", what, async || self.pods.delete(&pod.name, &params).await.map(drop));
        match answer.await {
            Err(refused) if matches!(apiserver::code(&refused.error), Some(404 | 409)) => Ok(()),
            Err(refused) => Err(refused),
            Ok(()) => {
                metrics::pod_deleted();
                Ok(())
            }
        }
    }

    /// Binds a Pod to a Node. That somebody else bound it, or that it is gone, is success.
    ///
    /// # Errors
    /// When the apiserver refuses for good.
    pub async fn bind(&self, pod: &Seen, node: &str) -> Result<(), Refused> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let what = || format!("bind Pod {} to {node}", pod.name);
        let answer = self.insist("bind", what, async || {
            let post = PostParams::default();
            self.pods
                .create_subresource::<_, serde_json::Value>("binding", &pod.name, &post, &binding)
                .await
                .map(drop)
        });
        match answer.await {
            Err(refused) if matches!(apiserver::code(&refused.error), Some(404 | 409)) => Ok(()),
            other => other,
        }
    }

    /// A client for lists.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Repeats a request until it succeeds or can never succeed, with at most so many in flight.
    async fn insist<F>(
        &self,
        kind: &'static str,
        what: impl Fn() -> String,
        request: impl Fn() -> F,
    ) -> Result<(), Refused>
    where
        F: Future<Output = Result<(), kube::Error>>,
    {
        let mut delay = FIRST_DELAY;
        let mut trouble = Trouble::default();
        loop {
            let permit = self.permits.acquire().await.expect("the semaphore must stay open");
            let answer = request().await;
            drop(permit);
            let Err(error) = answer else { return Ok(()) };
            let code = apiserver::code(&error);
            if is_final(kind, &error) {
                if !matches!(code, Some(404 | 409)) {
                    metrics::failed(kind);
                }
                return Err(Refused { what: what(), error });
            }
            metrics::failed(kind);
            tracing::warn!(what = what(), %error, "failed; retrying");
            // Refusals for being too many are the judge's to count (apiserver_rejected_nothing).
            if code != Some(429) && trouble.is_lasting(Instant::now()) {
                self.failures.add(what(), apiserver::words(&error));
            }
            tokio::time::sleep(delay.max(apiserver::retry_after(&error))).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }
}

/// Whether a request will not succeed however often it is repeated.
fn is_final(kind: &str, error: &kube::Error) -> bool {
    // A quota that was counted meanwhile, an object that its controller wrote meanwhile. A deletion or a binding
    // in conflict is one that is of no use any more.
    if matches!(kind, "create" | "scale") && apiserver::lost_a_race(error) {
        return false;
    }
    matches!(apiserver::code(error), Some(401 | 403 | 404 | 409)) || apiserver::is_permanent(error)
}

/// The failures of one request that is repeated.
#[derive(Default)]
struct Trouble {
    first: Option<Instant>,
    times: u32,
}

impl Trouble {
    /// Takes in a failure; whether there were so many for so long that they are no accident.
    fn is_lasting(&mut self, now: Instant) -> bool {
        self.times += 1;
        let first = *self.first.get_or_insert(now);
        self.times >= TROUBLED_TIMES && now.duration_since(first) >= TROUBLED_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(kube::core::Status::failure("why", reason).with_code(code).boxed())
    }

    #[test]
    fn what_may_pass_is_repeated_and_what_may_not_is_told() {
        for (kind, code, reason, expected) in [
            ("create", 403, "Forbidden", true),
            ("create", 422, "Invalid", true),
            ("create", 409, "AlreadyExists", true),
            ("create", 409, "Conflict", false),
            ("scale", 409, "Conflict", false),
            ("scale", 404, "NotFound", true),
            ("delete", 409, "Conflict", true),
            ("bind", 409, "Conflict", true),
            ("create", 429, "TooManyRequests", false),
            ("create", 500, "InternalError", false),
            ("create", 504, "Timeout", false),
        ] {
            assert_eq!(is_final(kind, &refusal(code, reason)), expected, "{kind} {code} {reason}");
        }
    }

    #[test]
    fn trouble_lasts_when_it_is_frequent_and_long() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut one_long_timeout = Trouble::default();
        assert!(!one_long_timeout.is_lasting(start) && !one_long_timeout.is_lasting(after(60)));
        let mut trouble = Trouble::default();
        assert!([0, 1, 2, 4, 6].into_iter().all(|s| !trouble.is_lasting(after(s))));
        assert!(trouble.is_lasting(after(9)));
    }

    #[test]
    fn a_refusal_says_what_and_why_once() {
        let refused = Refused { what: "create Deployment w".into(), error: refusal(403, "Forbidden") };
        assert_eq!(refused.to_string(), "cannot create Deployment w: why");
    }
}
