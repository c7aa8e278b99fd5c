//! Pictures over time, as SVG with their figures in a table below.

use std::fmt::Write;

use crate::report::series::Series;
use crate::report::steps::Steps;
use crate::report::svg::{escape, text};

/// Width of every picture.
pub const WIDTH: f64 = 760.0;
/// Margin on the left of the drawing.
pub const LEFT: f64 = 56.0;
/// Margin on its right.
pub const RIGHT: f64 = 8.0;
/// Margin above it.
pub const TOP: f64 = 22.0;
const BOTTOM: f64 = 24.0;
/// Distances between ticks that a time axis may have, seconds.
const TICKS_S: [f64; 9] = [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];

/// Something that happened, marked on every time axis.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Seconds since the start.
    pub at_s: f64,
    /// What happened, in words.
    pub text: String,
    /// Whether it should not have happened.
    pub is_fault: bool,
}

/// How series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Each series as a line.
    Lines,
    /// Series as areas on top of each other.
    Stacked,
}

/// A picture.
pub struct Chart<'a> {
    /// Title above it.
    pub title: String,
    /// Unit of its values.
    pub unit: &'static str,
    /// How it is drawn.
    pub look: Look,
    /// Height of the drawing.
    pub height: f64,
    /// Series to draw.
    pub series: Vec<Series>,
    /// Steps of the time axis.
    pub steps: &'a Steps,
    /// What happened during that time.
    pub marks: &'a [Mark],
}

/// The time axis that all pictures share. It gives the position of a moment.
pub struct TimeAxis<'a> {
    steps: &'a Steps,
}

impl<'a> TimeAxis<'a> {
    /// Creates the axis of these steps.
    pub fn new(steps: &'a Steps) -> Self {
        Self { steps }
    }

    /// Returns the position of a moment, in seconds since the start.
    pub fn x(&self, at_s: f64) -> f64 {
        LEFT + (at_s / self.steps.length_s()).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    /// Draws ticks along the bottom, and the marks from top to bottom.
    pub fn draw(&self, out: &mut String, bottom: f64, marks: &[Mark]) {
        let length_s = self.steps.length_s();
        let tick_s = TICKS_S.into_iter().find(|tick| length_s / tick <= 9.0).unwrap_or(length_s);
        let mut at_s = 0.0;
        while at_s <= length_s {
            let words =
                if tick_s < 60.0 { format!("{at_s:.0} s") } else { format!("{:.0} min", at_s / 60.0) };
            text(out, self.x(at_s), bottom + 14.0, "middle", &words);
            at_s += tick_s;
        }
        let mut free_from = 0.0;
        for mark in marks {
            let (x, class) = (self.x(mark.at_s), if mark.is_fault { "fault" } else { "mark" });
            let title = escape(&mark.text);
            let _ = write!(
                out,
                "<path class=\"{class}\" d=\"M{x:.1},{TOP} V{bottom:.1}\"><title>{title}</title></path>"
            );
            // Labels that would overlap are only shown under the pointer.
            let width = 7.0 * mark.text.len() as f64;
            if !mark.is_fault && x >= free_from && x + width < WIDTH {
                text(out, x + 3.0, TOP + 9.0, "start", &title);
                free_from = x + width;
            }
        }
    }
}

/// Opens a picture of that height.
pub fn open_svg(out: &mut String, title: &str, height: f64) {
    let _ =
        write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(title));
}

/// Returns the smallest of 1, 1.5, 2, 3, 4, 5, 6 and 8 times a power of ten that is not below a value.
pub fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]
        .into_iter()
        .map(|n| n * power)
        .find(|n| *n >= value)
        .unwrap_or(10.0 * power)
}

impl Chart<'_> {
    /// Renders the picture with its legend and its figures.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = write!(out, "<figure><figcaption>{}, {}", escape(&self.title), self.unit);
        for (n, series) in self.series.iter().enumerate() {
            let _ = write!(out, " <span class=\"key s{}\">{}</span>", n % 8, escape(&series.name));
        }
        out.push_str("</figcaption>");
        let bottom = TOP + self.height;
        open_svg(&mut out, &self.title, bottom + BOTTOM);
        let tops = self.tops();
        let most = tops.iter().flat_map(|(_, above)| above).copied().fold(0.0, f64::max);
        let scale = round_up(most);
        let y = |value: f64| TOP + self.height * (1.0 - value / scale);
        for tick in [0.0, 0.5, 1.0] {
            let at = y(tick * scale);
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT},{at:.1} H{:.1}\"/>", WIDTH - RIGHT);
            text(&mut out, LEFT - 6.0, at + 4.0, "end", &short(tick * scale));
        }
        for (n, (below, above)) in tops.iter().enumerate() {
            self.draw(&mut out, n % 8, below, above, &y);
        }
        TimeAxis::new(self.steps).draw(&mut out, bottom, self.marks);
        out.push_str("</svg>");
        self.figures(&mut out);
        out.push_str("</figure>\n");
        out
    }

    /// Returns the lower and upper edge of each series.
    fn tops(&self) -> Vec<(Vec<f64>, Vec<f64>)> {
        let mut floor = vec![0.0; self.steps.count()];
        let edge = |series: &Series| {
            if self.look == Look::Lines {
                return (Vec::new(), series.values.clone());
            }
            let below = floor.clone();
            floor.iter_mut().zip(&series.values).for_each(|(sum, v)| *sum += v);
            (below, floor.clone())
        };
        self.series.iter().map(edge).collect()
    }

    fn draw(&self, out: &mut String, colour: usize, below: &[f64], above: &[f64], y: &dyn Fn(f64) -> f64) {
        let axis = TimeAxis::new(self.steps);
        let x = |place: usize| axis.x((place + 1) as f64 * self.steps.step_s());
        let mut points = String::new();
        let mut point = |place: usize, value: f64| {
            let _ = write!(points, "{:.1},{:.1} ", x(place), y(value));
        };
        above.iter().enumerate().for_each(|(place, value)| point(place, *value));
        below.iter().enumerate().rev().for_each(|(place, value)| point(place, *value));
        let (shape, class) = match self.look {
            Look::Lines => ("polyline", "line"),
            Look::Stacked => ("polygon", "area"),
        };
        let _ = write!(out, "<{shape} class=\"{class} s{colour}\" points=\"{}\"/>", points.trim_end());
    }

    fn figures(&self, out: &mut String) {
        out.push_str("<details><summary>Figures</summary><table><tr><th>s</th>");
        for series in &self.series {
            let _ = write!(out, "<th>{}</th>", escape(&series.name));
        }
        out.push_str("</tr>");
        for place in 0..self.steps.count() {
            let _ = write!(out, "<tr><td>{:.0}</td>", (place + 1) as f64 * self.steps.step_s());
            for series in &self.series {
                let _ = write!(out, "<td>{}</td>", short(series.values[place]));
            }
            out.push_str("</tr>");
        }
        out.push_str("</table></details>");
    }
}

/// Formats a value with as few digits as are meaningful.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v == 0.0 || v >= 100.0 => 0,
        v if v >= 1.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Evidence;

    #[test]
    fn axes_end_at_round_values() {
        let cases = [(0.0, 1.0), (0.3, 0.3), (1.0, 1.0), (9.0, 10.0), (1450.0, 1500.0), (50_100.0, 60_000.0)];
        for (value, end) in cases {
            assert!((round_up(value) - end).abs() < end * 1e-9, "{value}: {}", round_up(value));
        }
        assert_eq!([0.0, 0.05, 2.50, 12.0, 1234.5].map(short), ["0", "0.05", "2.5", "12", "1234"]);
    }

    #[test]
    fn a_stack_reaches_the_sum_and_escapes_names() {
        let steps = Steps::of(&Evidence { end_us: 10_000_000, ..Evidence::default() });
        let series = ["a<b", "c"].map(|name| Series { name: name.into(), values: vec![1.0, 4.0] });
        let chart = Chart {
            title: "t".into(),
            unit: "u",
            look: Look::Stacked,
            height: 100.0,
            series: series.into(),
            steps: &steps,
            marks: &[],
        };
        let text = chart.render();
        assert!(text.contains("a&lt;b") && !text.contains("a<b"), "{text}");
        // 8 of 8 at the end: the top edge lies at the top.
        assert!(text.contains(&format!("{:.1},{TOP:.1}", WIDTH - RIGHT)), "{text}");
    }
}
