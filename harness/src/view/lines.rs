//! The dashboard's lines: a pure function of a [`Snapshot`] and of the terminal's size.

use crate::view::left::{clock, length};
use crate::view::paint::{Line, Look, Tone, items};
use crate::view::snapshot::{Check, ClusterView, PhaseState, PhaseView, Snapshot};
use harness_model::record::Phase;
use harness_model::summary::screen::number;

/// Number of lines of a dashboard without its clusters.
const OTHERS: usize = 9;
/// Number of columns of the labels.
const LABEL: usize = 9;
/// Number of columns of a number in the table.
const CELL: usize = 8;
/// Fewest and most columns of a bar with its brackets; with less room there is no bar.
const BAR: (usize, usize) = (10, 52);

/// Returns all lines, none of them wider than the terminal. The first is empty: it sets the dashboard off, and it is
/// what remains when something is echoed below, such as a Ctrl-C.
pub fn lines(s: &Snapshot, look: Look) -> Vec<String> {
    let mut all = vec![Line::default(), head(s)];
    all.extend([done(s, look), now(s), then(s, look)]);
    all.extend(table(&s.clusters, look));
    all.extend([rates(s, look), so_far(s, look), busy(s, look)]);
    all.iter().map(|line| line.text(look)).collect()
}

fn head(s: &Snapshot) -> Line {
    let mut line = Line::default();
    line.add(Tone::Strong, s.run_id.as_str()).add(Tone::Plain, format!("  {}", clock(s.elapsed_s)));
    if s.interrupted {
        line.add(Tone::Bad, "  interrupted, winding down; once more kills");
    } else if let Some(left) = s.left {
        line.add(Tone::Plain, format!(", {} left", left.words()));
    }
    line
}

/// Lists the phases that are over; if there is no room for all, the last ones.
fn done(s: &Snapshot, look: Look) -> Line {
    let told = |view: &PhaseView| match (view.state, view.took_s) {
        (PhaseState::Done, Some(took_s)) => Some(format!("{} {}", view.phase.name(), length(took_s))),
        (PhaseState::Skipped, _) => Some(format!("no {}", view.phase.name())),
        _ => None,
    };
    let all: Vec<String> = s.phases.iter().filter_map(told).collect();
    let fits = |from: &usize| LABEL + all[*from..].join(", ").chars().count() <= look.width;
    let from = (0..all.len()).find(fits).unwrap_or(all.len());
    let shown = all[from..].iter().map(|text| (Tone::Good, text.clone())).collect();
    items("done     ", shown, look)
}

fn now(s: &Snapshot) -> Line {
    let mut line = Line::default();
    line.add(Tone::Faint, "now      ").add(Tone::Strong, s.phase.name());
    line.add(Tone::Plain, format!(" {}", clock(s.phase_s)));
    let planned = s.phases.iter().find(|view| view.phase == s.phase).and_then(|view| view.planned);
    match (s.phase_left, planned) {
        (Some(left), Some(planned))
            if s.phase == Phase::Fill && planned.most_s < s.phase_s + left.least_s =>
        {
            let budget_left = (planned.most_s - s.phase_s).max(0.0);
            let text = format!(", {} at this rate, {} of its budget left", left.words(), length(budget_left));
            line.add(Tone::Bad, text)
        }
        (Some(left), _) => line.add(Tone::Plain, format!(", {} left", left.words())),
        (None, Some(planned)) => line.add(Tone::Plain, format!(", at most {}", length(planned.most_s))),
        (None, None) => &mut line,
    };
    if !s.note.is_empty() {
        line.add(Tone::Plain, format!("; {}", s.note));
    }
    line
}

fn then(s: &Snapshot, look: Look) -> Line {
    let ahead = s.phases.iter().filter(|view| view.state == PhaseState::Ahead);
    let text = |view: &PhaseView| match view.planned {
        Some(range) if range.least_s > 0.0 => format!("{} {}", view.phase.name(), length(range.most_s)),
        _ => view.phase.name().to_owned(),
    };
    items("then     ", ahead.map(|view| (Tone::Plain, text(view))).collect(), look)
}

/// The columns for which there is room.
#[derive(Clone, Copy)]
struct Columns {
    name: usize,
    /// Number of columns of the bar, including brackets; 0: none.
    bar: usize,
    /// Whether there are columns for declared and created Pods.
    declared: bool,
    created: bool,
}

impl Columns {
    fn fitting(clusters: &[ClusterView], look: Look) -> Self {
        let name = clusters.iter().map(|c| c.name.len()).max().unwrap_or_default().max("99 others".len());
        // bound, running, of, Pods/s
        let least = name + 1 + 4 * CELL;
        let room = look.width.saturating_sub(least);
        let (declared, created) = (BAR.0 + 2 * CELL <= room, BAR.0 + CELL <= room);
        let bar = room.saturating_sub(CELL * (usize::from(declared) + usize::from(created)));
        Self { name, bar: if bar < BAR.0 { 0 } else { bar.min(BAR.1) }, declared, created }
    }
}

fn table(clusters: &[ClusterView], look: Look) -> Vec<Line> {
    let columns = Columns::fitting(clusters, look);
    let rows_max = look.height.saturating_sub(OTHERS).max(1);
    let mut lines = vec![table_head(columns)];
    if clusters.len() <= rows_max {
        lines.extend(clusters.iter().map(|cluster| row(cluster, columns)));
        return lines;
    }
    let (listed, others) = clusters.split_at(rows_max - 1);
    lines.extend(listed.iter().map(|cluster| row(cluster, columns)));
    lines.push(row(&together(others), columns));
    lines
}

fn table_head(columns: Columns) -> Line {
    let legend = match columns.bar {
        0..16 => "",
        16..40 => " # runs = bound",
        _ => " # runs  = bound  - live  . declared",
    };
    let mut text = format!("{:w$}", "", w = columns.name + 1);
    text.push_str(&format!("{legend:w$}", w = columns.bar));
    let heads = [("declared", columns.declared), ("created", columns.created)];
    let shown = heads.into_iter().filter(|(_, is_shown)| *is_shown).map(|(head, _)| head);
    shown
        .chain(["bound", "running", "of", "binds/s"])
        .for_each(|head| text.push_str(&format!("{head:>CELL$}")));
    let mut line = Line::default();
    line.add(Tone::Faint, text);
    line
}

fn row(cluster: &ClusterView, columns: Columns) -> Line {
    let mut line = Line::default();
    line.add(Tone::Plain, format!("{:w$} ", cluster.name, w = columns.name));
    bar(cluster, columns.bar, &mut line);
    let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let cells = [(count(cluster.declared), columns.declared), (cluster.created.to_string(), columns.created)];
    let shown = cells.into_iter().filter(|(_, is_shown)| *is_shown).map(|(cell, _)| cell);
    let rate = cluster.binds_per_s.map_or_else(|| "-".to_owned(), per_s);
    let rest = [cluster.bound.to_string(), cluster.running.to_string(), cluster.target.to_string(), rate];
    let text: String = shown.chain(rest).map(|cell| format!("{cell:>CELL$}")).collect();
    line.add(Tone::Plain, text);
    line
}

/// Draws running, bound, live and declared Pods on top of each other; the bar is full at the target.
fn bar(cluster: &ClusterView, width: usize, line: &mut Line) {
    if width == 0 {
        return;
    }
    let inside = width - 2;
    let columns = |n: u64| {
        let share = if cluster.target == 0 { 0.0 } else { n as f64 / cluster.target as f64 };
        ((share * inside as f64) as usize).min(inside)
    };
    line.add(Tone::Plain, "[");
    let mut filled = 0;
    let layers = [
        (cluster.running, "#", Tone::Good),
        (cluster.bound, "=", Tone::Fair),
        (cluster.live, "-", Tone::Plain),
        (cluster.declared.unwrap_or_default(), ".", Tone::Faint),
    ];
    for (n, sign, tone) in layers {
        let more = columns(n).saturating_sub(filled);
        line.add(tone, sign.repeat(more));
        filled += more;
    }
    line.add(Tone::Plain, format!("{}]", " ".repeat(inside - filled)));
}

/// Adds up the clusters for which there are no lines.
fn together(clusters: &[ClusterView]) -> ClusterView {
    let sum = |of: fn(&ClusterView) -> u64| clusters.iter().map(of).sum();
    ClusterView {
        name: format!("{} others", clusters.len()),
        target: sum(|c| c.target),
        declared: clusters.iter().map(|c| c.declared).sum(),
        created: sum(|c| c.created),
        live: sum(|c| c.live),
        bound: sum(|c| c.bound),
        running: sum(|c| c.running),
        binds_per_s: clusters.iter().map(|c| c.binds_per_s).sum(),
    }
}

fn rates(s: &Snapshot, look: Look) -> Line {
    let r = &s.rates;
    let texts = [
        r.binds_per_s.map(|rate| format!("{} binds/s", per_s(rate))),
        r.machines.map(|m| match m.moving {
            0 => format!("{} of {} machines", m.serving, m.planned),
            moving => format!("{} of {} machines and {moving} on their way", m.serving, m.planned),
        }),
        r.actions_per_s.map(|rate| format!("{} actions/s", per_s(rate))),
        r.marks_per_pod.map(|marks| format!("{} unschedulable marks/Pod", number(marks))),
        r.failed_attempts_per_pod.map(|failed| format!("{} failed attempts/Pod", number(failed))),
    ];
    items("rates    ", texts.into_iter().flatten().map(|text| (Tone::Plain, text)).collect(), look)
}

/// Formats a rate, with a tenth where that is not lost in the noise.
fn per_s(rate: f64) -> String {
    if rate < 9.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// Lists the checks, failed ones first, so that they are not left out for lack of room.
fn so_far(s: &Snapshot, look: Look) -> Line {
    let mut checks: Vec<&Check> = s.so_far.iter().collect();
    checks.sort_by_key(|check| check.ok);
    let tone = |check: &Check| match (check.ok, check.limit) {
        (false, _) => Tone::Bad,
        (true, Some(_)) => Tone::Good,
        (true, None) => Tone::Plain,
    };
    items("so far   ", checks.into_iter().map(|check| (tone(check), check_words(check))).collect(), look)
}

fn check_words(check: &Check) -> String {
    let mark = if check.ok { "" } else { "x " };
    let value = check.value;
    let of = |limit: Option<f64>| limit.map_or_else(String::new, |limit| format!(" of {limit:.0}"));
    let text = match check.name.as_str() {
        "unbound_s_max" => format!("unbound {value:.0}{} s", of(check.limit)),
        "watches_without_gap" => format!("{value:.0} gaps"),
        "nodes_stayed_ready" => format!("{value:.0} Nodes lost"),
        "shortfalls_max" => format!("{value:.0} shortfalls"),
        "harness_and_fleet_cpu_share" => {
            format!("own CPU {:.0}{} %", value * 100.0, of(check.limit.map(|share| share * 100.0)))
        }
        "host_not_starved" => {
            format!("sampler {:.1}{} s late", value / 1e3, of(check.limit.map(|ms| ms / 1e3)))
        }
        name => format!("{name} {} {}", number(value), check.unit),
    };
    format!("{mark}{text}")
}

/// Shows the busiest component first: with luck, it is the one that the run waits for.
fn busy(s: &Snapshot, look: Look) -> Line {
    let Some(load) = &s.load else { return items("busy     ", Vec::new(), look) };
    let gib = |mib: u64| mib as f64 / 1024.0;
    let mut texts = Vec::new();
    if let Some(first) = load.busiest.first() {
        let text = format!("{} {:.0} % of the run's CPU", first.component, first.share * 100.0);
        texts.push((Tone::Strong, text));
    }
    texts.push((Tone::Plain, format!("host {:.0} %", load.host_busy * 100.0)));
    texts
        .push((Tone::Plain, format!("{:.1} GiB, {:.1} free", gib(load.memory_mib), gib(load.available_mib))));
    let others = load.busiest.iter().skip(1);
    texts.extend(others.map(|b| (Tone::Plain, format!("{} {:.0} %", b.component, b.share * 100.0))));
    items("busy     ", texts, look)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
