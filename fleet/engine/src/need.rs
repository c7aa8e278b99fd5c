//! Needs: a cluster's demand by profile, never by Pod.

use std::collections::{BTreeMap, BTreeSet};

use api::session::node_selector_requirement::Operator as WireOperator;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::{CapacityNeed, ClusterCapacityNeeds, PenaltyBucket};

use crate::resources::{self, Resources};

/// Operators of a requirement; the numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Value among those listed.
    In = 1,
    /// Value not among those listed, or no such label.
    NotIn = 2,
    /// Label present.
    Exists = 3,
    /// Label absent.
    DoesNotExist = 4,
    /// All machines of the Need share one value.
    Same = 5,
}

/// One condition on a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Operator.
    pub operator: Operator,
    /// Values, sorted.
    pub values: Vec<String>,
}

/// A DoNotSchedule spread term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// Label whose values are the domains.
    pub key: String,
    /// Largest difference in machine count between two domains.
    pub max_skew: u32,
}

/// What makes two demands the same kind. Resources are no part of it (ADR-0027).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Sorted by (key, operator).
    pub requirements: Vec<Requirement>,
    /// Sorted by key.
    pub spread: Vec<Spread>,
    /// Higher is served first.
    pub priority: i32,
    /// 0..=27.
    pub interruption_bucket: i32,
    /// 0..=27.
    pub reclamation_bucket: i32,
}

impl Profile {
    /// The readable identity, in upstream's form.
    pub fn fingerprint(&self) -> String {
        let reqs: Vec<String> = self
            .requirements
            .iter()
            .map(|r| format!("{}:{}:{}", r.key, r.operator as i32, r.values.join(",")))
            .collect();
        let spread: Vec<String> = self.spread.iter().map(|s| format!("{}:{}:1", s.key, s.max_skew)).collect();
        format!(
            "p={}|ipb={}|rpb={}|reqs={}|spr={}",
            self.priority,
            self.interruption_bucket,
            self.reclamation_bucket,
            reqs.join(";"),
            spread.join(";")
        )
    }

    /// The label all machines of the Need must share, if any.
    pub fn same_key(&self) -> Option<&str> {
        self.requirements.iter().find(|r| r.operator == Operator::Same).map(|r| r.key.as_str())
    }
}

/// Identity of a Need within a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeedKey {
    /// The cluster.
    pub cluster: String,
    /// The profile's fingerprint.
    pub fingerprint: String,
    /// Co-location group; empty for plain Needs.
    pub group: String,
}

/// One row of demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Identity.
    pub key: NeedKey,
    /// Kind of demand.
    pub profile: Profile,
    /// Total asked for.
    pub aggregate: Resources,
    /// The indivisible unit: every machine must hold at least this.
    pub min_unit: Resources,
    /// The roll-up's time stamp in unix nanoseconds: orders Needs of equal priority.
    pub arrival_unix_nanos: i64,
}

/// Why a roll-up was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A resource amount is bad.
    #[error("need {row}: {error}")]
    Resources {
        /// Row in the roll-up, from 0.
        row: usize,
        /// What is wrong.
        error: resources::Error,
    },
    /// Not a penalty bucket.
    #[error("need {row}: penalty bucket {bucket} is not in 0..=27")]
    Bucket {
        /// Row in the roll-up, from 0.
        row: usize,
        /// The number given.
        bucket: i32,
    },
    /// Not an operator.
    #[error("need {row}: requirement on {key} has the unknown operator {operator}")]
    Operator {
        /// Row in the roll-up, from 0.
        row: usize,
        /// Label key.
        key: String,
        /// The number given.
        operator: i32,
    },
}

/// Takes a roll-up apart; rows of one identity are merged. Nothing is taken when any row is bad.
///
/// # Errors
/// [`Error`], naming the first bad row.
pub fn from_rollup(cluster: &str, rollup: &ClusterCapacityNeeds) -> Result<Vec<Need>, Error> {
    let mut merged: BTreeMap<NeedKey, Need> = BTreeMap::new();
    for (row, wire) in rollup.needs.iter().enumerate() {
        let need = from_wire(cluster, row, wire, rollup.timestamp_unix_nanos)?;
        match merged.get_mut(&need.key) {
            Some(known) => {
                known.aggregate.add(&need.aggregate);
                known.min_unit.raise_to(&need.min_unit);
            }
            None => {
                merged.insert(need.key.clone(), need);
            }
        }
    }
    Ok(merged.into_values().collect())
}

fn from_wire(cluster: &str, row: usize, wire: &CapacityNeed, arrival: i64) -> Result<Need, Error> {
    for bucket in [wire.interruption_penalty_bucket, wire.reclamation_penalty_bucket] {
        PenaltyBucket::try_from(bucket).map_err(|_| Error::Bucket { row, bucket })?;
    }
    let mut requirements = Vec::with_capacity(wire.requirements.len());
    for r in &wire.requirements {
        let operator = match r.operator() {
            WireOperator::In => Operator::In,
            WireOperator::NotIn => Operator::NotIn,
            WireOperator::Exists => Operator::Exists,
            WireOperator::DoesNotExist => Operator::DoesNotExist,
            WireOperator::Same => Operator::Same,
            WireOperator::Unspecified => {
                return Err(Error::Operator { row, key: r.key.clone(), operator: r.operator });
            }
        };
        let values: BTreeSet<String> = r.values.iter().cloned().collect();
        requirements.push(Requirement { key: r.key.clone(), operator, values: values.into_iter().collect() });
    }
    requirements.sort();
    let mut spread: Vec<Spread> = wire
        .spread
        .iter()
        .filter(|s| s.when_unsatisfiable() == WhenUnsatisfiable::DoNotSchedule)
        .map(|s| Spread { key: s.topology_key.clone(), max_skew: s.max_skew.max(1).unsigned_abs() })
        .collect();
    spread.sort();
    let profile = Profile {
        requirements,
        spread,
        priority: wire.priority,
        interruption_bucket: wire.interruption_penalty_bucket,
        reclamation_bucket: wire.reclamation_penalty_bucket,
    };
    let parse = |texts| Resources::parse(texts).map_err(|error| Error::Resources { row, error });
    Ok(Need {
        key: NeedKey {
            cluster: cluster.to_owned(),
            fingerprint: profile.fingerprint(),
            group: wire.group.clone(),
        },
        aggregate: parse(&wire.aggregate_resources)?,
        min_unit: parse(&wire.min_unit)?,
        profile,
        arrival_unix_nanos: arrival,
    })
}
