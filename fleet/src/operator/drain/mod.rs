//! Reclaim instructions: which were begun, how they ended, and what the shard is told.
//!
//! An instruction is answered twice: when its drains have begun, and (`wait_for_eviction`) when the last of
//! its Nodes is gone. The two look alike, so a shard counts them, anew in each session: it asks again for
//! what it is still owed. Hence each answer is given once per session, and never the second before the first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use api::session::operator_message::Payload;
use api::session::{ReclaimAck, ReclaimInstruction};
use tokio::sync::watch;

use crate::operator::drain::run::{Drainer, Order};
use crate::operator::keeper::Unfinished;
use crate::operator::link::{Link, SessionId};

pub mod decide;
pub mod run;

/// Grace period of an instruction that gives none; upstream's.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// `nodes_started` of the second answer when a Node could not be drained.
const FAILED: i32 = -1;
/// Ended instructions that are remembered, so that a late repetition of one starts no drain.
const REMEMBERED: usize = 2000;

/// All drains of this operator.
pub struct Drains {
    drainer: Drainer,
    link: Arc<Link>,
    /// By instruction id.
    instructions: Mutex<HashMap<String, Progress>>,
    /// Ids of ended instructions, oldest first.
    ended: Mutex<VecDeque<String>>,
    /// Running drains by machine: two instructions may name one.
    running: Mutex<HashMap<String, watch::Receiver<Stage>>>,
}

struct Progress {
    nodes: i32,
    begun: bool,
    /// The second answer, once the drains have ended.
    ended: Option<i32>,
    /// The sessions in which the answers were given last.
    begun_told_in: Option<SessionId>,
    ended_told_in: Option<SessionId>,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Starting,
    Begun,
    Ended { drained: bool },
}

impl Drains {
    /// No drains yet.
    pub fn new(drainer: Drainer, link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self {
            drainer,
            link,
            instructions: Mutex::default(),
            ended: Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// Obeys an instruction. One that was heard before is only answered.
    pub fn instructed(self: &Arc<Self>, instruction: ReclaimInstruction) {
        let grace = u64::try_from(instruction.grace_period_seconds).ok().filter(|&s| s > 0);
        let deadline = SystemTime::now() + grace.map_or(DEFAULT_GRACE, Duration::from_secs);
        let orders = instruction.nodes.iter().map(|node| Order {
            instruction: instruction.instruction_id.clone(),
            machine: self.drainer.keeper.machine_of(node),
            node: node.clone(),
            deadline,
        });
        self.begin(&instruction.instruction_id, orders.collect());
    }

    /// Takes up the drains that a former process left, under their old deadlines.
    pub fn resume(self: &Arc<Self>, unfinished: Vec<Unfinished>) {
        let mut by_instruction: HashMap<String, Vec<Order>> = HashMap::new();
        for drain in unfinished {
            tracing::info!(node = drain.node, instruction = drain.instruction, "resuming a drain");
            let Unfinished { machine, node, instruction, deadline } = drain;
            let order = Order { instruction: instruction.clone(), machine, node, deadline };
            by_instruction.entry(instruction).or_default().push(order);
        }
        for (instruction, orders) in by_instruction {
            self.begin(&instruction, orders);
        }
    }

    fn begin(self: &Arc<Self>, id: &str, orders: Vec<Order>) {
        let nodes = i32::try_from(orders.len()).unwrap_or(i32::MAX);
        {
            let mut instructions = lock(&self.instructions);
            if instructions.contains_key(id) {
                drop(instructions);
                return self.tell(id);
            }
            let progress =
                Progress { nodes, begun: false, ended: None, begun_told_in: None, ended_told_in: None };
            instructions.insert(id.to_owned(), progress);
        }
        let drains = self.clone();
        let id = id.to_owned();
        tokio::spawn(async move {
            let mut stages: Vec<_> = orders.into_iter().map(|order| drains.join(order)).collect();
            for stage in &mut stages {
                let _ = stage.wait_for(|stage| *stage != Stage::Starting).await;
            }
            if let Some(progress) = lock(&drains.instructions).get_mut(&id) {
                progress.begun = true;
            }
            drains.tell(&id);
            let mut all_drained = true;
            for stage in &mut stages {
                let ended = stage.wait_for(|stage| matches!(stage, Stage::Ended { .. })).await;
                all_drained &= ended.is_ok_and(|stage| *stage == Stage::Ended { drained: true });
            }
            drains.end(&id, if all_drained { nodes } else { FAILED });
        });
    }

    /// Starts the drain of a machine, or joins the one that runs.
    fn join(self: &Arc<Self>, order: Order) -> watch::Receiver<Stage> {
        let mut running = lock(&self.running);
        if let Some(stage) = running.get(&order.machine) {
            return stage.clone();
        }
        let (stage, seen) = watch::channel(Stage::Starting);
        running.insert(order.machine.clone(), seen.clone());
        let drains = self.clone();
        tokio::spawn(async move {
            let begun = || stage.send_modify(|stage| *stage = Stage::Begun);
            let outcome = drains.drainer.drain(&order, begun).await;
            // Off the list first: who is told that it ended may ask for the next one.
            lock(&drains.running).remove(&order.machine);
            stage.send_replace(Stage::Ended { drained: outcome.is_ok() });
        });
        seen
    }

    fn end(&self, id: &str, nodes: i32) {
        if let Some(progress) = lock(&self.instructions).get_mut(id) {
            (progress.begun, progress.ended) = (true, Some(nodes));
        }
        self.tell(id);
        let mut ended = lock(&self.ended);
        ended.push_back(id.to_owned());
        if REMEMBERED < ended.len()
            && let Some(oldest) = ended.pop_front()
        {
            lock(&self.instructions).remove(&oldest);
        }
    }

    /// Gives the answers that are due and were not given in this session.
    fn tell(&self, id: &str) {
        let mut instructions = lock(&self.instructions);
        let (Some(progress), Some(session)) = (instructions.get_mut(id), self.link.session()) else { return };
        if progress.begun && progress.begun_told_in != Some(session) {
            if !self.acknowledge(id, progress.nodes) {
                return;
            }
            progress.begun_told_in = Some(session);
        }
        // Upstream knows no second answer.
        if let Some(nodes) = progress.ended
            && self.drainer.wait_for_eviction
            && progress.ended_told_in != Some(session)
            && self.acknowledge(id, nodes)
        {
            progress.ended_told_in = Some(session);
        }
    }

    fn acknowledge(&self, id: &str, nodes_started: i32) -> bool {
        self.link.send(Payload::ReclaimAck(ReclaimAck { instruction_id: id.to_owned(), nodes_started }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("the drains' mutexes must not be poisoned")
}
