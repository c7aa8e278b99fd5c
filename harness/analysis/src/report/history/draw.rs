//! A gate's history as markup: a small picture, the numbers in words, and all values as a table.

use std::fmt::Write;

use super::{History, scaled};
use crate::report::svg::escape;
use crate::report::tables::{breakable, outcome};
use crate::speed::NORMALISED;
use harness_model::summary::screen::{measured, number};
use harness_model::summary::{Bound, Gate, Outcome, Summary};

/// Most runs in a picture, including the run itself.
const DRAWN_MAX: usize = 20;
/// Size of a picture, and the margin at its edges, pixels.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 30.0;
const ROOM: f64 = 5.0;

/// A run's value in a picture.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    passed: bool,
    /// Whether it belongs to the run that the report is about.
    is_last: bool,
    pub(super) title: String,
}

impl History {
    /// Whether there are no earlier runs to compare the run with.
    pub fn is_empty(&self) -> bool {
        self.earlier.is_empty()
    }

    /// Describes which runs the history covers, and how to read it.
    pub fn note(&self) -> String {
        let runs = self.earlier.len();
        let mut text = match (self.earlier.first(), self.earlier.last()) {
            (Some(first), Some(last)) => format!(
                "Earlier runs of the same profile, plan and class of machine: {runs}, started from {} to {}. In the \
                 pictures the oldest is on the left and this run, ringed, on the right; a dot is a pass, \
                 a cross a failure, and dashes are the limits of this run.",
                escape(&first.started),
                escape(&last.started)
            ),
            _ => "The first run of its kind here: no earlier one of the same profile, plan and class of machine."
                .to_owned(),
        };
        if !self.is_empty() && !self.factors.is_empty() {
            let metrics: Vec<&str> =
                NORMALISED.into_iter().filter(|metric| self.factors.contains_key(*metric)).collect();
            let _ = write!(text, " In the history {} are at reference speed.", metrics.join(", "));
        }
        if self.not_normalised() > 0 {
            let _ = write!(
                text,
                " Of {} earlier runs the host's speed was not measured: their figures are not \
                 normalised, and only in the table.",
                self.not_normalised()
            );
        }
        if self.unread > 0 {
            let _ = write!(text, " Left out, because they cannot be read here: {} summaries.", self.unread);
        }
        format!("<p class=\"note\">{text}</p>\n")
    }

    /// Returns the cell of a gate of the run; empty if the gate does not apply.
    pub fn cell(&self, gate: &Gate) -> String {
        let past = self.past(&gate.metric);
        if gate.outcome == Outcome::NotApplicable {
            return String::new();
        }
        if past.runs == 0 {
            return "no earlier run has it".to_owned();
        }
        let mut words = format!("{} earlier, {} passed", past.runs, past.passed);
        if let Some(spread) = past.spread {
            let (min, max) = (number(spread.min), number(spread.max));
            if spread.n < past.runs {
                let _ = write!(words, ", {} measured", spread.n);
            }
            let _ = write!(words, "<br>median {}, {min}–{max}", number(spread.median));
        }
        format!("<div class=\"past\">{}<span>{words}</span></div>", self.picture(gate))
    }

    fn picture(&self, gate: &Gate) -> String {
        let mut out = format!(
            "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} of earlier runs and of this one\">",
            escape(&gate.metric)
        );
        let (points, limits) = self.layout(gate);
        for y in limits {
            let _ = write!(out, "<path class=\"limit\" d=\"M0,{y:.1} H{WIDTH}\"/>");
        }
        let line: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", p.x, p.y)).collect();
        let _ = write!(out, "<polyline class=\"line\" points=\"{}\"/>", line.join(" "));
        for point in &points {
            draw(&mut out, point);
        }
        out.push_str("</svg>");
        out
    }

    /// Returns the positions of the values and the limits. A run without a value keeps its place and has no point.
    pub(super) fn layout(&self, gate: &Gate) -> (Vec<Point>, Vec<f64>) {
        let gate =
            &self.factors.get(&gate.metric).map_or_else(|| gate.clone(), |factor| scaled(gate, *factor));
        let mut drawn: Vec<(&str, Gate)> =
            self.gates(&gate.metric).map(|(run, gate)| (run.run_id.as_str(), gate)).collect();
        drawn.drain(..drawn.len().saturating_sub(DRAWN_MAX - 1));
        drawn.push(("this run", gate.clone()));
        let limits: Vec<f64> = limits(gate).into_iter().flatten().collect();
        let values = drawn.iter().filter_map(|(_, gate)| value(gate));
        let (low, high) = values
            .chain(limits.iter().copied())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let y = |value: f64| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            ROOM + (1.0 - share) * (HEIGHT - 2.0 * ROOM)
        };
        let step = (WIDTH - 2.0 * ROOM) / (drawn.len() - 1).max(1) as f64;
        let point = |(n, (run, gate)): (usize, &(&str, Gate))| {
            let (word, _) = outcome(gate.outcome);
            Some(Point {
                x: ROOM + step * n as f64,
                y: y(value(gate)?),
                passed: gate.outcome == Outcome::Pass,
                is_last: n + 1 == drawn.len(),
                title: format!("{}: {} {}, {word}", escape(run), measured(gate.value), escape(&gate.unit)),
            })
        };
        (drawn.iter().enumerate().filter_map(point).collect(), limits.into_iter().map(y).collect())
    }

    /// Returns every value of every gate of the run, run by run; nothing if there is no earlier run.
    pub fn figures(&self, of: &Summary) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut out = "<details><summary>Figures of all earlier runs, and of this one</summary><table><tr><th>begun</th>\
                       <th>run</th>"
            .to_owned();
        for gate in &of.gates {
            let unit = if gate.unit.is_empty() { String::new() } else { format!(", {}", escape(&gate.unit)) };
            let _ = write!(out, "<th>{}{unit}</th>", breakable(&gate.metric));
        }
        out.push_str("</tr>");
        for run in self.earlier.iter().chain([of]) {
            let _ = write!(out, "<tr><td>{}</td><td>{}</td>", escape(&run.started), escape(&run.run_id));
            for gate in &of.gates {
                let _ = write!(
                    out,
                    "<td>{}</td>",
                    self.judged(run, &gate.metric).as_ref().map(figure).unwrap_or_default()
                );
            }
            out.push_str("</tr>");
        }
        out.push_str("</table></details>\n");
        out
    }
}

/// Formats a value for people, with all its digits for programs that read the page, and its outcome unless it passed.
fn figure(gate: &Gate) -> String {
    let (word, class) = outcome(gate.outcome);
    let word = format!("<span class=\"{class}\">{word}</span>");
    match gate.value {
        None if gate.note.is_empty() => word,
        None => format!("{} {word}", escape(&gate.note)),
        Some(value) => {
            let shown = format!("<data value=\"{value}\">{}</data>", number(value));
            if gate.outcome == Outcome::Pass { shown } else { format!("{shown} {word}") }
        }
    }
}

fn draw(out: &mut String, point: &Point) {
    let Point { x, y, passed, is_last, title } = point;
    let class = if *passed { "pass" } else { "fail" };
    let _ = write!(out, "<g class=\"{class}\"><title>{title}</title>");
    if *is_last {
        let _ = write!(out, "<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>");
    }
    if *passed {
        let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
    } else {
        let (left, right, top, bottom) = (x - 2.5, x + 2.5, y - 2.5, y + 2.5);
        let _ = write!(
            out,
            "<path d=\"M{left:.1},{top:.1} L{right:.1},{bottom:.1} M{left:.1},{bottom:.1} L{right:.1},{top:.1}\"/>"
        );
    }
    out.push_str("</g>");
}

/// Returns the value if it can be drawn.
fn value(gate: &Gate) -> Option<f64> {
    gate.value.filter(|value| value.is_finite())
}

/// Returns the smallest and the largest good value: a gate has to keep its objective and its range.
fn limits(gate: &Gate) -> [Option<f64>; 2] {
    let ends = |of: fn(&Bound) -> Option<f64>| {
        [gate.slo, gate.range].into_iter().flatten().filter_map(move |b| of(&b)).filter(|v| v.is_finite())
    };
    [ends(|b| b.min).reduce(f64::max), ends(|b| b.max).reduce(f64::min)]
}
