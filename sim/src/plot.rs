//! Machines by state over time, actions beneath, as an SVG of its own making.

use std::fmt::Write;

use fleet_engine::State;
use harness_analysis::report::svg::{escape, text};

use crate::counters::{Counters, state_idx};
use crate::report::Report;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 50.0;
const PANEL: f64 = 240.0;
const GAP: f64 = 50.0;
const ACTIONS: f64 = 110.0;

/// States from the bottom up. Speculative ones are no machines yet, and would dwarf the rest.
const SHOWN: [(State, &str); 7] = [
    (State::Configured, "#2f6f9f"),
    (State::Configuring, "#7fb3d5"),
    (State::Draining, "#e59866"),
    (State::Creating, "#a9cce3"),
    (State::Idle, "#d5dbdb"),
    (State::Deleting, "#b2babb"),
    (State::Failed, "#922b21"),
];

/// Machines and actions over time.
pub struct Picture {
    /// Above it.
    pub title: String,
    /// Where the axis of time begins and ends, in words.
    pub ends: [String; 2],
    /// In order of time, alike apart.
    pub columns: Vec<Column>,
}

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Machines by state, in the order of `State::ALL`.
    pub states: [u32; State::ALL.len()],
    /// Machines that began to come.
    pub acquired: u32,
    /// Machines that began to go.
    pub given_back: u32,
}

impl From<&Report> for Picture {
    fn from(report: &Report) -> Self {
        let column = |c: &Counters| {
            let acquired = c.bootstraps + c.provisions;
            Column { states: c.states, acquired, given_back: c.churn() - acquired }
        };
        let size = &report.size;
        Self {
            title: format!(
                "{}: {} machines, {} Pods in {} clusters, seed {}",
                report.scenario, size.machines, size.pods, size.clusters, report.seed
            ),
            ends: ["cycle 1".to_owned(), format!("cycle {}", report.cycles.len())],
            columns: report.cycles.iter().map(column).collect(),
        }
    }
}

/// The picture as a file.
pub fn svg(picture: &Picture) -> String {
    let height = TOP + PANEL + GAP + ACTIONS + 50.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    text(&mut out, LEFT, 24.0, "start", &escape(&picture.title));
    machines(&mut out, picture);
    actions(&mut out, picture);
    out.push_str("</svg>\n");
    out
}

fn x(picture: &Picture, cycle: f64) -> f64 {
    let last = (picture.columns.len() as f64 - 1.0).max(1.0);
    LEFT + cycle / last * (WIDTH - LEFT - RIGHT)
}

fn machines(out: &mut String, picture: &Picture) {
    let columns: Vec<usize> = SHOWN.iter().map(|&(state, _)| state_idx(state)).collect();
    let sum = |states: &[u32]| columns.iter().map(|&c| f64::from(states[c])).sum::<f64>();
    let most = picture.columns.iter().map(|c| sum(&c.states)).fold(1.0, f64::max);
    let y = |value: f64| TOP + PANEL * (1.0 - value / most);
    let mut below = vec![0.0; picture.columns.len()];
    for ((state, colour), &column) in SHOWN.iter().zip(&columns) {
        if picture.columns.iter().all(|c| c.states[column] == 0) {
            continue;
        }
        let above: Vec<f64> =
            below.iter().zip(&picture.columns).map(|(b, c)| b + f64::from(c.states[column])).collect();
        let mut points = String::new();
        for (i, value) in above.iter().enumerate() {
            let _ = write!(points, "{:.1},{:.1} ", x(picture, i as f64), y(*value));
        }
        for (i, value) in below.iter().enumerate().rev() {
            let _ = write!(points, "{:.1},{:.1} ", x(picture, i as f64), y(*value));
        }
        let _ = writeln!(out, "<polygon fill=\"{colour}\" points=\"{}\"/>", points.trim_end());
        let (low, high) = (below.last().copied().unwrap_or(0.0), above.last().copied().unwrap_or(0.0));
        if high - low > most / 30.0 {
            text(out, WIDTH - RIGHT + 8.0, y(f64::midpoint(low, high)) + 4.0, "start", state.name());
        }
        below = above;
    }
    axis(out, TOP, PANEL, most, "machines");
}

fn actions(out: &mut String, picture: &Picture) {
    let top = TOP + PANEL + GAP;
    let all = |c: &Column| f64::from(c.acquired + c.given_back);
    let most = picture.columns.iter().map(all).fold(1.0, f64::max);
    let width = ((WIDTH - LEFT - RIGHT) / picture.columns.len().max(1) as f64).clamp(0.5, 12.0);
    for (i, c) in picture.columns.iter().enumerate() {
        let parts = [(f64::from(c.acquired), "#2f6f9f"), (f64::from(c.given_back), "#c0392b")];
        let mut base = top + ACTIONS;
        for (value, colour) in parts.into_iter().filter(|(value, _)| *value > 0.0) {
            let height = value / most * ACTIONS;
            base -= height;
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{base:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                x(picture, i as f64)
            );
        }
    }
    axis(out, top, ACTIONS, most, "actions");
    text(out, WIDTH - RIGHT + 8.0, top + 14.0, "start", "red: given back");
    text(out, WIDTH - RIGHT + 8.0, top + 30.0, "start", "blue: acquired");
    let end = top + ACTIONS + 20.0;
    text(out, LEFT, end, "middle", &escape(&picture.ends[0]));
    text(out, WIDTH - RIGHT, end, "middle", &escape(&picture.ends[1]));
}

fn axis(out: &mut String, top: f64, height: f64, most: f64, what: &str) {
    let bottom = top + height;
    let _ = writeln!(
        out,
        "<path d=\"M{LEFT},{top} V{bottom} H{}\" fill=\"none\" stroke=\"#333\"/>",
        WIDTH - RIGHT
    );
    text(out, LEFT - 8.0, top + 4.0, "end", &most.to_string());
    text(out, LEFT - 8.0, bottom, "end", "0");
    text(out, LEFT - 8.0, top + height / 2.0, "end", what);
}
