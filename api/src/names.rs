//! Names that more than one component relies on. Upstream's where upstream has them.

/// API group of the three custom resources.
pub const GROUP: &str = "bigfleet.lucy.sh";
/// Version of the session protocol, sent in `Hello`.
pub const PROTOCOL_VERSION: &str = "v1alpha1";

/// Label on a CapacityRequest: the uid of the Pod it asks for.
pub const OWNED_BY_POD: &str = "bigfleet.lucy.sh/owned-by-pod";
/// Pod annotation: dollars for interrupting the workload once (a Quantity).
pub const INTERRUPTION_PENALTY: &str = "bigfleet.lucy.sh/interruption-penalty";
/// Pod annotation: dollars tied to this particular machine (a Quantity).
pub const RECLAMATION_PENALTY: &str = "bigfleet.lucy.sh/reclamation-penalty";
/// UpcomingNode annotation: RFC 3339 deadline of a drain, so that a restarted operator resumes it.
pub const DRAIN_DEADLINE: &str = "bigfleet.lucy.sh/drain-deadline";
/// UpcomingNode annotation: the reclaim instruction a drain answers.
pub const DRAIN_INSTRUCTION: &str = "bigfleet.lucy.sh/drain-instruction";

/// Well-known Node label: instance type.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Well-known Node label: zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Node label: rack (`<zone>-rack-<n>`).
pub const RACK: &str = "topology.bigfleet/rack";

/// Pod label: the catalog archetype.
pub const ARCHETYPE: &str = "scaletest.bigfleet/archetype";
/// Pod label and selector: the workload object.
pub const WORKLOAD: &str = "scaletest.bigfleet/workload";
/// Pod label: `steady` on Pods made after the fill.
pub const STATE: &str = "scaletest.bigfleet/state";
/// Pod label: the gang a Pod belongs to.
pub const GANG: &str = "scaletest.bigfleet/co-location-group";

/// Annotation by which kwok knows the Nodes it plays.
pub const KWOK_NODE: &str = "kwok.x-k8s.io/node";
/// Value of [`KWOK_NODE`].
pub const KWOK_FAKE: &str = "fake";
/// Node label: made by node-creator; its sweep touches no other Node.
pub const CREATED_BY: &str = "scaletest.bigfleet/created-by";
/// Node annotation: uid of the UpcomingNode the Node stands for.
pub const UPCOMING_UID: &str = "scaletest.bigfleet/upcoming-node-uid";

/// `un-<machine id>`, the name of a machine's UpcomingNode.
pub fn upcoming_node_name(machine_id: &str) -> String {
    format!("un-{machine_id}")
}

/// The machine id behind an UpcomingNode's name, if it has the `un-` form.
pub fn machine_id(upcoming_node_name: &str) -> Option<&str> {
    upcoming_node_name.strip_prefix("un-")
}

/// Label selector of the Nodes that are machines: a control plane of kubeadm's making has a real Node of its own
/// (Kubernetes docs, "Well-Known Labels").
pub const MACHINE_NODES: &str = "!node-role.kubernetes.io/control-plane";
/// Field selector of the Pods that are load: there, a control plane of kubeadm's making shows its static Pods.
pub const LOAD_PODS: &str = "metadata.namespace!=kube-system";
/// Annotation of the Pods that show a kubelet's static Pods: nobody can move them (Kubernetes docs, "Static Pods").
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
