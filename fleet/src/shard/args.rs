//! The shard's command line. Names and defaults are upstream's where upstream has the flag.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use component::args::parse_loopback;

use fleet_engine::{Attribution, Policy};

/// Decides which machine serves which cluster, and makes it so at an in-process provider.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Args {
    /// Address of the gRPC session service; must be a loopback address.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = parse_loopback)]
    pub listen: SocketAddr,
    /// Address of /metrics, /healthz, /readyz and /debug; must be a loopback address.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = parse_loopback)]
    pub metrics_addr: SocketAddr,
    /// File to write, as JSON, once the shard listens.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// Directory of the epoch counter, which grows by one at every start. Without it the epoch is 1.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Seed of the provider: JSON, all machines to start with.
    #[arg(long)]
    pub inventory: Option<PathBuf>,
    /// Longest pause between decision cycles; each accepted roll-up starts one, too.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub cycle_interval: Duration,
    /// Actions that run at once. Twice as many may wait; the rest is dropped and decided again.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub execute_concurrency: u16,
    /// Largest share of a cluster's machines that one cycle reclaims; 0 lifts the cap.
    #[arg(long, default_value_t = 0.05, value_parser = parse_fraction)]
    pub reclaim_cap_fraction: f64,
    /// Hold a roll-up that drops over nine tenths of its rows until the third in a row agrees.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub empty_rollup_guard: bool,
    /// Decide and report, but do nothing until told to by POST /actuation/resume.
    #[arg(long)]
    pub actuation_paused: bool,
    /// As --actuation-paused, counted apart.
    #[arg(long)]
    pub dry_run: bool,
    /// File to which each finished action is appended as a JSON line.
    #[arg(long)]
    pub audit_log: Option<PathBuf>,
    /// Time a reclaimed Node's Pods get to leave.
    #[arg(long, default_value = "600s", value_parser = parse_duration)]
    pub reclaim_grace: Duration,
    /// A machine is free again only once the operator has said that its Node is gone. Upstream: false.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub wait_for_eviction: bool,
    /// Treat a gang that fits one machine as plain demand.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub gang_folding: bool,
    /// Whose claims tell surplus from use.
    #[arg(long, value_enum, default_value_t = AttributionArg::Single)]
    pub attribution: AttributionArg,
    /// Cycles at the start that are left out of the cycle metrics.
    #[arg(long, default_value_t = 0)]
    pub metrics_warmup_cycles: u64,
    /// How long the provider takes to create a machine.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub create_latency: Duration,
    /// How long the provider takes to configure a machine.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub configure_latency: Duration,
    /// How long the provider takes to drain a machine.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub drain_latency: Duration,
    /// Share by which each latency varies, up and down.
    #[arg(long, default_value_t = 0.0, value_parser = parse_fraction)]
    pub latency_jitter: f64,
    /// Share of creations that fail.
    #[arg(long, default_value_t = 0.0, value_parser = parse_fraction)]
    pub create_failure_rate: f64,
    /// Share of configurations that fail.
    #[arg(long, default_value_t = 0.0, value_parser = parse_fraction)]
    pub configure_failure_rate: f64,
    /// Seed of the provider's jitter and failures.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Values of `--attribution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttributionArg {
    /// Phase 1's claims (ADR-0045).
    Single,
    /// A second walk of Phase 3 (before ADR-0045; oscillates).
    TwoWalk,
}

impl Args {
    /// The engine's limits and switches.
    pub fn policy(&self) -> Policy {
        Policy {
            reclaim_cap_fraction: self.reclaim_cap_fraction,
            reclaim_grace_s: u32::try_from(self.reclaim_grace.as_secs()).unwrap_or(u32::MAX),
            gang_folding: self.gang_folding,
            attribution: match self.attribution {
                AttributionArg::Single => Attribution::Single,
                AttributionArg::TwoWalk => Attribution::TwoWalk,
            },
        }
    }
}

/// Parses `250ms`, `1.5s`, `10m`, `1h`.
///
/// # Errors
/// When the text is none of these.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let complain = || format!("`{text}` is not a duration; write e.g. 250ms, 10s, 10m");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(complain)?;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| complain())?;
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(complain()),
    };
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| complain())
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(format!("`{text}` is not a share; give a number from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_shares_are_checked() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        for bad in ["10", "s", "-1s", "1d", ""] {
            assert!(parse_duration(bad).unwrap_err().contains("10s"), "{bad}");
        }
        assert!(parse_fraction("1.5").is_err() && parse_fraction("NaN").is_err());
        assert_eq!(parse_fraction("0.05"), Ok(0.05));
    }

    #[test]
    fn switches_take_a_value() {
        let args = Args::parse_from(["shard", "--wait-for-eviction=false", "--empty-rollup-guard", "false"]);
        assert!(!args.wait_for_eviction && !args.empty_rollup_guard && args.gang_folding);
        assert_eq!(args.policy().reclaim_grace_s, 600);
    }
}
