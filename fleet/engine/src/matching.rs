//! Whether a machine will do for a Need.

use crate::machine::Machine;
use crate::need::{Need, Operator, Requirement};

/// Whether a machine meets one requirement. `Same` is about a set of machines: one machine meets it when
/// it carries the label at all.
pub fn meets(machine: &Machine, requirement: &Requirement) -> bool {
    let value = machine.label(&requirement.key);
    let listed = |v: &str| requirement.values.iter().any(|x| x == v);
    match requirement.operator {
        Operator::In => value.is_some_and(listed),
        Operator::NotIn => !value.is_some_and(listed),
        Operator::Exists | Operator::Same => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

/// Whether a machine meets all requirements and holds the Need's indivisible unit.
pub fn suits(machine: &Machine, need: &Need) -> bool {
    need.profile.requirements.iter().all(|r| meets(machine, r)) && need.min_unit.fits(&machine.allocatable)
}
