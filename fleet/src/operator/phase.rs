//! From frames about a machine to what happens to its UpcomingNode. No I/O.
//!
//! Frames of one machine are coalesced to the newest, with one exception: that the machine was let go in
//! between must not be lost. Upstream maps an Idle frame to Launched when the Draining frame before it was
//! overtaken; then the object and the Node stay for ever, under a machine that already serves another cluster.

use api::session::{MachineState, NodeStateUpdate};
use api::upcoming_node::UpcomingNodePhase as Phase;

/// Frames of one machine that were not acted upon yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    /// The newest frame.
    pub newest: Option<NodeStateUpdate>,
    /// An Idle frame is among them.
    let_go: bool,
    /// A frame of a machine that serves this cluster came before that Idle frame.
    served_before: bool,
}

/// What to do with an UpcomingNode, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Delete the object: its machine was let go.
    pub delete: bool,
    /// Then bring the object to this phase, creating it if need be.
    pub apply: Option<Phase>,
}

impl Pending {
    /// Adds a frame.
    pub fn absorb(&mut self, frame: NodeStateUpdate) {
        match frame.state() {
            MachineState::Idle => self.let_go = true,
            state if serves(phase_of(state)) && !self.let_go => self.served_before = true,
            _ => {}
        }
        self.newest = Some(frame);
    }

    /// Puts frames back whose turn failed; `self` holds what came since.
    pub fn put_back(&mut self, failed: Self) {
        if failed.let_go || !self.let_go {
            self.served_before = failed.served_before || (!failed.let_go && self.served_before);
        } else {
            self.served_before |= failed.served_before;
        }
        self.let_go |= failed.let_go;
        if self.newest.is_none() {
            self.newest = failed.newest;
        }
    }

    /// What follows for the object, given its phase now (`None`: there is no object).
    pub fn plan(&self, object: Option<Phase>) -> Plan {
        let delete = object.is_some_and(|phase| self.let_go && (self.served_before || serves(phase)));
        let object = object.filter(|_| !delete);
        let apply = self.newest.as_ref().and_then(|frame| match frame.state() {
            // Nothing that serves nobody, or is on its way out, is announced.
            MachineState::Idle | MachineState::Deleting | MachineState::Draining if object.is_none() => None,
            state => Some(phase_of(state)),
        });
        Plan { delete, apply }
    }
}

/// The phase a machine's state stands for (upstream's table).
pub fn phase_of(state: MachineState) -> Phase {
    match state {
        MachineState::Idle => Phase::Launched,
        MachineState::Configuring => Phase::Registered,
        MachineState::Configured => Phase::Ready,
        MachineState::Draining => Phase::Draining,
        MachineState::Failed => Phase::Failed,
        MachineState::Unspecified
        | MachineState::Speculative
        | MachineState::Creating
        | MachineState::Deleting => Phase::Provisioning,
    }
}

/// Whether a machine in this phase is (or was last) bound to the cluster.
fn serves(phase: Phase) -> bool {
    match phase {
        Phase::Provisioning | Phase::Launched => false,
        Phase::Registered | Phase::Ready | Phase::Draining | Phase::Drained | Phase::Failed => true,
    }
}

#[cfg(test)]
mod tests {
    use MachineState::*;

    use super::*;

    fn pending(states: &[MachineState]) -> Pending {
        let mut pending = Pending::default();
        for &state in states {
            pending.absorb(NodeStateUpdate { state: state.into(), ..NodeStateUpdate::default() });
        }
        pending
    }

    #[test]
    fn states_and_phases_follow_the_table() {
        let cases = [
            (Speculative, Phase::Provisioning),
            (Creating, Phase::Provisioning),
            (Idle, Phase::Launched),
            (Configuring, Phase::Registered),
            (Configured, Phase::Ready),
            (Draining, Phase::Draining),
            (Failed, Phase::Failed),
            (Deleting, Phase::Provisioning),
            (Unspecified, Phase::Provisioning),
        ];
        for (state, expected) in cases {
            assert_eq!(phase_of(state), expected, "{state:?}");
        }
    }

    #[test]
    fn frames_lead_to_plans() {
        let apply = |phase| Plan { delete: false, apply: Some(phase) };
        let delete = Plan { delete: true, apply: None };
        let nothing = Plan { delete: false, apply: None };
        let cases: &[(Option<Phase>, &[MachineState], Plan)] = &[
            (None, &[Configuring], apply(Phase::Registered)),
            // Coalesced: Ready is what counts.
            (None, &[Configuring, Configured], apply(Phase::Ready)),
            (Some(Phase::Registered), &[Configured], apply(Phase::Ready)),
            (Some(Phase::Provisioning), &[Idle], apply(Phase::Launched)),
            (Some(Phase::Provisioning), &[Idle, Configuring], apply(Phase::Registered)),
            // However the end of a drain is coalesced, the object goes.
            (Some(Phase::Draining), &[Idle], delete),
            (Some(Phase::Ready), &[Draining, Idle], delete),
            (Some(Phase::Ready), &[Idle], delete),
            (Some(Phase::Registered), &[Idle], delete),
            (Some(Phase::Provisioning), &[Configuring, Idle], delete),
            // A new life of the machine gets a new object.
            (
                Some(Phase::Draining),
                &[Idle, Configuring],
                Plan { delete: true, apply: Some(Phase::Registered) },
            ),
            (
                Some(Phase::Ready),
                &[Draining, Idle, Configuring, Configured],
                Plan { delete: true, apply: Some(Phase::Ready) },
            ),
            // Nothing was ever announced: nothing is.
            (None, &[Idle], nothing),
            (None, &[Draining], nothing),
            (None, &[Configured, Draining, Idle], nothing),
            (Some(Phase::Ready), &[Failed], apply(Phase::Failed)),
        ];
        for (object, frames, expected) in cases {
            assert_eq!(pending(frames).plan(*object), *expected, "{object:?} {frames:?}");
        }
    }

    #[test]
    fn a_failed_turn_loses_nothing() {
        let cases: &[(&[MachineState], &[MachineState])] = &[
            (&[Draining, Idle], &[]),
            (&[Draining, Idle], &[Configuring]),
            (&[Configuring], &[Idle]),
            (&[Configuring], &[Configured]),
            (&[Creating], &[Idle, Configuring]),
            (&[Idle], &[Configuring, Configured]),
        ];
        for (first, then) in cases {
            let mut put_back = pending(then);
            put_back.put_back(pending(first));
            let in_order = pending(&[*first, *then].concat());
            for object in [None, Some(Phase::Provisioning), Some(Phase::Ready), Some(Phase::Draining)] {
                assert_eq!(put_back.plan(object), in_order.plan(object), "{first:?} {then:?} {object:?}");
            }
        }
    }
}
