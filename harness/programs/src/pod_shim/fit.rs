//! Job 2 without doing it: whether a Pod fits a Node, by labels and resources alone.
//!
//! Taints, spread constraints, Pod affinity, priority, `allocatable.pods` and init containers are ignored, as
//! upstream ignores them. A cordon is obeyed: upstream's operator cordoned by machine id and so never reached
//! a `fake-` Node; here it does, and a binder that went on filling the Node would undo every drain.

use std::collections::BTreeMap;
use std::fmt;

use api::quantity::{Amount, ParseError};
use component::slim;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Resource name to thousandths of its unit.
pub type Amounts = BTreeMap<String, u128>;

/// What a Pod asks of a Node.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    selector: BTreeMap<String, String>,
    /// Required node affinity; any one term will do.
    terms: Option<Vec<NodeSelectorTerm>>,
    /// Sum over the main containers, or the quantity that cannot be read.
    requests: Result<Amounts, String>,
}

impl Want {
    /// What `pod` asks for.
    pub fn of(pod: &slim::Pod) -> Self {
        let required = pod
            .spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let mut requests = Ok(Amounts::new());
        for (resource, quantity) in pod.spec.containers.iter().flat_map(|c| &c.resources.requests) {
            requests = requests.and_then(|mut sum: Amounts| {
                *sum.entry(resource.clone()).or_default() += thousandths(quantity)?;
                Ok(sum)
            });
        }
        Self {
            selector: pod.spec.node_selector.clone(),
            terms: required.map(|selector| selector.node_selector_terms.clone()),
            requests,
        }
    }

    /// What the Pod takes of the Node it is on; what cannot be read counts as nothing.
    pub fn taken(&self) -> Amounts {
        self.requests.clone().unwrap_or_default()
    }

    /// Whether a Node with these labels is one that the Pod accepts.
    pub fn accepts(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term_holds(term, labels)))
    }
}

/// A Node, as far as binding looks at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What Pods may ask for in sum; quantities that cannot be read are left out, so that nothing fits them.
    pub allocatable: Amounts,
    /// Whether it takes no new Pods.
    pub cordoned: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl Host {
    /// Reads a Node.
    pub fn of(node: &Node) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
        let readable = |(name, quantity): (String, Quantity)| Some((name, thousandths(&quantity).ok()?));
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            allocatable: allocatable.into_iter().flatten().filter_map(readable).collect(),
            cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
            created: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// Whether a Pod fits a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Fits,
    /// The Node has not the labels that the Pod asks for.
    OtherLabels,
    /// The Node is cordoned.
    Cordoned,
    /// The Node has too little left.
    Full,
    /// The Pod asks for a quantity that cannot be read.
    Unreadable,
}

/// Checks a Pod against a Node of which `taken` is in use.
pub fn check(want: &Want, host: &Host, taken: Option<&Amounts>) -> Fit {
    if !want.accepts(&host.labels) {
        return Fit::OtherLabels;
    }
    if host.cordoned {
        return Fit::Cordoned;
    }
    let Ok(requests) = &want.requests else { return Fit::Unreadable };
    let in_use = |resource: &str| taken.and_then(|taken| taken.get(resource)).copied().unwrap_or_default();
    let holds = |(resource, asked): (&String, &u128)| {
        *asked == 0 || host.allocatable.get(resource).is_some_and(|all| in_use(resource) + asked <= *all)
    };
    // A Node without any resources takes nothing, not even a Pod that asks for nothing.
    if !host.allocatable.is_empty() && requests.iter().all(holds) { Fit::Fits } else { Fit::Full }
}

/// Why no Node was found: the message of the mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misfits {
    nodes: usize,
    other_labels: usize,
    cordoned: usize,
    full: usize,
    unreadable: usize,
}

impl Misfits {
    /// Counts a Node that was looked at.
    pub fn count(&mut self, fit: Fit) {
        self.nodes += 1;
        match fit {
            Fit::Fits => {}
            Fit::OtherLabels => self.other_labels += 1,
            Fit::Cordoned => self.cordoned += 1,
            Fit::Full => self.full += 1,
            Fit::Unreadable => self.unreadable += 1,
        }
    }
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod-shim: none of {} Nodes fits", self.nodes)?;
        let reasons = [
            (self.other_labels, "with other labels than asked for"),
            (self.cordoned, "cordoned"),
            (self.full, "with too little left"),
            (self.unreadable, "not compared, because the Pod's requests cannot be read"),
        ];
        let mut separator = ": ";
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        *sum.entry(resource.clone()).or_default() += amount;
    }
}

/// Takes `less` off `sum`; what comes to nothing is left out.
pub fn subtract(sum: &mut Amounts, less: &Amounts) {
    for (resource, amount) in less {
        if let Some(left) = sum.get_mut(resource) {
            *left = left.saturating_sub(*amount);
        }
    }
    sum.retain(|_, left| *left > 0);
}

/// What is below zero counts as nothing.
fn thousandths(quantity: &Quantity) -> Result<u128, String> {
    let amount: Amount = quantity.0.parse().map_err(|error: ParseError| error.to_string())?;
    Ok(u128::try_from(amount.milli()).unwrap_or(0))
}

/// Expressions are ANDed. A term with `matchFields`, or with nothing in it, holds of no Node.
fn term_holds(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    let fields = term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty());
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    !fields && !expressions.is_empty() && expressions.iter().all(|e| expression_holds(e, labels))
}

/// Gt and Lt are not known, and hold of no Node.
fn expression_holds(expression: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let found = labels.get(&expression.key);
    let listed = || found.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
    match expression.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
