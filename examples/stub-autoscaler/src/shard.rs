//! The shard: lets `decide` decide for all clusters, and plays the provider of the machines.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::inventory::Inventory;
use api::session::shard_message::Payload as Answer;
use api::session::{ClusterCapacityNeeds, ReclaimAck, ReclaimInstruction};
use clap::{ArgAction, Parser};
use component::metrics::Buckets;
use metrics::{counter, gauge, histogram};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::decide::{Machine, Need, State, decide};
use crate::millis;
use crate::sessions::{self, Session, ack, node_state_update};

const CYCLE_SECONDS: &str = "bigfleet_shard_cycle_duration_seconds";
const CONFIGURE_SECONDS: &str = "bigfleet_shard_configure_phase_seconds";
const SHORTFALLS: &str = "bigfleet_shard_shortfalls";
const SHORT_CYCLES: &str = "bigfleet_shard_cycles_with_shortfalls_total";
const OUTCOMES: &str = "bigfleet_shard_action_execute_outcomes_total";

/// So long nobody must have needed a machine before it is taken back. A Pod that is being replaced is no demand for a
/// moment, and a gang that is given up one machine too many finds no other.
const SURPLUS_FOR: Duration = Duration::from_secs(2);

const BUCKETS: [Buckets; 2] = [
    Buckets { name: CYCLE_SECONDS, start: 0.001, factor: 2.0, count: 14 },
    Buckets { name: CONFIGURE_SECONDS, start: 0.01, factor: 2.0, count: 16 },
];

/// Decides which machine serves which cluster, and plays the provider of machines.
#[derive(Parser, Clone, Debug)]
#[command(name = "shard")]
pub struct Args {
    /// Address for sessions.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address of /metrics.
    #[arg(long, default_value = "127.0.0.1:0")]
    metrics_addr: SocketAddr,
    /// File to write once the shard listens.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// All machines there are.
    #[arg(long)]
    inventory: PathBuf,
    /// Longest pause between two decisions.
    #[arg(long, default_value = "1000ms", value_parser = millis)]
    cycle_interval: Duration,
    /// How long it takes to create a machine.
    #[arg(long, default_value = "0ms", value_parser = millis)]
    create_latency: Duration,
    /// How long it takes to configure it.
    #[arg(long, default_value = "0ms", value_parser = millis)]
    configure_latency: Duration,
    /// How long it takes to take it back.
    #[arg(long, default_value = "0ms", value_parser = millis)]
    drain_latency: Duration,
    /// How long a drain may take; handed on to the operator.
    #[arg(long, default_value = "60000ms", value_parser = millis)]
    reclaim_grace: Duration,
    #[command(flatten)]
    left_out: LeftOut,
}

/// Flags of what this shard leaves out.
#[derive(clap::Args, Clone, Debug)]
struct LeftOut {
    /// Must be 0: nothing fails.
    #[arg(long, default_value_t = 0.0)]
    create_failure_rate: f64,
    /// Must be 0: nothing fails.
    #[arg(long, default_value_t = 0.0)]
    configure_failure_rate: f64,
    /// Must be 0: what is surplus goes at once.
    #[arg(long, default_value_t = 0.0)]
    reclaim_cap_fraction: f64,
    /// Must be true: a machine is free only when its Node is gone.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    wait_for_eviction: bool,
    /// Must not be given: there is no pause.
    #[arg(long)]
    actuation_paused: bool,
    /// Not looked at: no line is written.
    #[arg(long)]
    audit_log: Option<PathBuf>,
    /// Not looked at: all actions are begun at once.
    #[arg(long)]
    execute_concurrency: Option<u16>,
    /// Not looked at: every roll-up is believed.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    empty_rollup_guard: bool,
    /// Not looked at: each gang has machines of its own.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    gang_folding: bool,
    /// Not looked at: nothing is left to chance.
    #[arg(long)]
    seed: Option<u64>,
}

impl LeftOut {
    /// A run that needs what is left out would not be what it says it is.
    fn refuse_if_needed(&self) -> anyhow::Result<()> {
        let nothing_fails = self.create_failure_rate == 0.0 && self.configure_failure_rate == 0.0;
        ensure!(nothing_fails, "this shard knows no --create-failure-rate and no --configure-failure-rate");
        ensure!(self.reclaim_cap_fraction == 0.0, "this shard knows no --reclaim-cap-fraction");
        ensure!(self.wait_for_eviction, "this shard knows no --wait-for-eviction=false");
        ensure!(!self.actuation_paused, "this shard knows no --actuation-paused");
        Ok(())
    }
}

/// The shard, as its sessions see it.
pub(crate) struct Shard {
    args: Args,
    /// Asks for a decision now.
    wake: Notify,
    known: Mutex<Known>,
}

/// What the shard knows.
#[derive(Default)]
pub(crate) struct Known {
    machines: Vec<Machine>,
    /// By cluster. One that has not said anything yet is not in it.
    demand: BTreeMap<String, Vec<Need>>,
    /// By cluster.
    pub(crate) sessions: HashMap<String, Session>,
    /// By instruction id: the machine, and how often the operator has acknowledged.
    drains: HashMap<String, (usize, u32)>,
    /// Machines that nobody needs, and since when.
    surplus: BTreeMap<usize, Instant>,
    cycle: u64,
}

/// Runs for ever.
///
/// # Errors
/// When a flag asks for what is left out here, the inventory cannot be read, or an address is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.left_out.refuse_if_needed()?;
    let known = Known { machines: read_inventory(&args.inventory)?, ..Known::default() };
    let metrics = component::metrics::install(&BUCKETS)?;
    show_metrics();
    let metrics = component::metrics::serve(args.metrics_addr, metrics).await?;
    let listener = TcpListener::bind(args.listen).await.context("binding the address for sessions")?;
    let addresses = [("metrics", metrics), ("grpc", listener.local_addr()?)];
    component::ready::announce(args.ready_file.as_deref(), &addresses)?;
    let shard = Arc::new(Shard { args, wake: Notify::new(), known: Mutex::new(known) });
    tokio::select! {
        served = sessions::serve(shard.clone(), listener) => served,
        () = cycles(shard) => Ok(()),
    }
}

fn read_inventory(path: &Path) -> anyhow::Result<Vec<Machine>> {
    let what = || format!("the inventory {}", path.display());
    let text = std::fs::read(path).with_context(what)?;
    let inventory: Inventory = serde_json::from_slice(&text).with_context(what)?;
    inventory.machines.iter().map(Machine::read).collect::<anyhow::Result<_>>().with_context(what)
}

async fn cycles(shard: Arc<Shard>) {
    let mut ticks = tokio::time::interval(shard.args.cycle_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shard.wake.notified() => {}
        }
        shard.cycle();
    }
}

impl Shard {
    /// A cluster has a new session: it hears of the machines that serve it from the start.
    pub(crate) fn greet(&self, cluster: &str, session: Session) {
        let mut known = self.known();
        known.sessions.insert(cluster.to_owned(), session);
        known.send(cluster, ack("hello"));
        for machine in known.machines.iter().filter(|machine| machine.cluster.as_deref() == Some(cluster)) {
            known.send(cluster, node_state_update(machine));
        }
    }

    /// A cluster says what it needs, all of it.
    pub(crate) fn rolled_up(&self, cluster: &str, rollup: &ClusterCapacityNeeds) {
        let needs: anyhow::Result<Vec<Need>> = rollup.needs.iter().map(Need::read).collect();
        let mut known = self.known();
        match needs {
            Ok(needs) => drop(known.demand.insert(cluster.to_owned(), needs)),
            Err(error) => return tracing::warn!(cluster, %error, "not understood; the last roll-up stays"),
        }
        known.send(cluster, ack("rollup"));
        self.wake.notify_one();
    }

    /// Decides, and begins what follows.
    fn cycle(self: &Arc<Self>) {
        let start = Instant::now();
        let mut known = self.known();
        known.cycle += 1;
        let decision = decide(&known.machines, &known.demand);
        for (i, cluster, group) in decision.take {
            let machine = &mut known.machines[i];
            let is_there = machine.state == State::Idle;
            machine.state = if is_there { State::Configuring } else { State::Creating };
            (machine.cluster, machine.group) = (Some(cluster), group);
            tokio::spawn(self.clone().bring(i, is_there));
        }
        let known_since = |i: usize| (i, known.surplus.get(&i).copied().unwrap_or(start));
        known.surplus = decision.surplus.into_iter().map(known_since).collect();
        let is_due = |(_, since): &(&usize, &Instant)| since.elapsed() >= SURPLUS_FOR;
        let due: Vec<usize> = known.surplus.iter().filter(is_due).map(|(&i, _)| i).collect();
        for i in due {
            known.machines[i].state = State::Draining;
            let (machine, cycle) = (&known.machines[i], known.cycle);
            let instruction_id = format!("reclaim-{cycle}-{}", machine.id);
            let instruction = ReclaimInstruction {
                instruction_id: instruction_id.clone(),
                nodes: vec![machine.id.clone()],
                grace_period_seconds: i64::try_from(self.args.reclaim_grace.as_secs()).unwrap_or(i64::MAX),
                preemptor_priority: 0,
            };
            known.send(&machine.cluster.clone().unwrap_or_default(), Answer::ReclaimInstruction(instruction));
            known.drains.insert(instruction_id, (i, 0));
        }
        gauge!(SHORTFALLS).set(decision.short as f64);
        // A gauge is read every few seconds; this tells of every cycle.
        counter!(SHORT_CYCLES).increment(u64::from(decision.short > 0));
        histogram!(CYCLE_SECONDS).record(start.elapsed().as_secs_f64());
    }

    /// Walks a machine to its cluster.
    async fn bring(self: Arc<Self>, machine: usize, is_there: bool) {
        let start = Instant::now();
        if !is_there {
            tokio::time::sleep(self.args.create_latency).await;
        }
        self.stands(machine, State::Configuring);
        tokio::time::sleep(self.args.configure_latency).await;
        self.stands(machine, State::Configured);
        histogram!(CONFIGURE_SECONDS).record(start.elapsed().as_secs_f64());
        count(if is_there { "Bootstrap" } else { "Provision" });
    }

    /// A machine is in a state, and its cluster hears of it.
    fn stands(&self, machine: usize, state: State) {
        let mut known = self.known();
        known.machines[machine].state = state;
        let machine = &known.machines[machine];
        known.send(machine.cluster.as_deref().unwrap_or_default(), node_state_update(machine));
    }

    /// The operator says that a drain has begun or, the second time, that the Node is gone.
    pub(crate) fn acknowledged(self: &Arc<Self>, ack: &ReclaimAck) {
        let mut known = self.known();
        let Some((machine, acks)) = known.drains.get_mut(&ack.instruction_id) else { return };
        let machine = *machine;
        *acks += 1;
        if ack.nodes_started < 0 {
            return tracing::warn!(ack.instruction_id, "not drained; the machine stays out of use");
        }
        // 0 says by itself that the Node is gone.
        if *acks < 2 && ack.nodes_started > 0 {
            return;
        }
        known.drains.remove(&ack.instruction_id);
        let shard = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(shard.args.drain_latency).await;
            let mut known = shard.known();
            let machine = &mut known.machines[machine];
            // The cluster has taken leave of it, and hears no more.
            (machine.state, machine.cluster, machine.group) = (State::Idle, None, String::new());
            count("Reclaim");
            shard.wake.notify_one();
        });
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("the shard's mutex must not be poisoned")
    }
}

/// Shows every metric from the start: what was never shown is not measured.
fn show_metrics() {
    let _ = (histogram!(CYCLE_SECONDS), histogram!(CONFIGURE_SECONDS));
    gauge!(SHORTFALLS).set(0.0);
    counter!(SHORT_CYCLES).absolute(0);
    for kind in ["Bootstrap", "Provision", "Reclaim"] {
        counter!(OUTCOMES, "kind" => kind, "outcome" => "success").absolute(0);
    }
}

fn count(kind: &'static str) {
    counter!(OUTCOMES, "kind" => kind, "outcome" => "success").increment(1);
}
