//! The audience of a run: a person at a terminal, a log, no one, or a program.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::view::lines::lines;
use crate::view::paint::Look;
use crate::view::snapshot::Snapshot;

/// How a run is shown.
#[derive(Clone)]
pub enum Front {
    /// A dashboard at the bottom of the terminal.
    Dashboard(Dashboard),
    /// A line every 15 seconds.
    Lines,
    /// Nothing but warnings.
    Quiet,
    /// JSON on stdout.
    Json,
}

impl Front {
    /// Chooses what was requested; otherwise a dashboard if stderr is a terminal that can show one.
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (quiet, json) {
            (_, true) => Self::Json,
            (true, false) => Self::Quiet,
            (false, false) => Dashboard::on_terminal().map_or(Self::Lines, Self::Dashboard),
        }
    }

    /// Installs the logger of the process, so that it does not disturb what is shown. Notes are among the events
    /// anyway.
    pub fn init_log(&self) {
        match self {
            Self::Dashboard(dashboard) => {
                let dashboard = dashboard.clone();
                component::log::init_at("warn", move || dashboard.above());
            }
            Self::Lines => component::log::init_asked(),
            // Quiet is quiet, whatever level the programs of the run log at.
            Self::Quiet | Self::Json => component::log::init_at("warn", std::io::stderr),
        }
    }
}

/// Lines at the bottom of the terminal, shared by all clones.
#[derive(Clone)]
pub struct Dashboard(ProgressBar);

impl Dashboard {
    /// Creates a dashboard on stderr, if that is a terminal that can move its cursor.
    fn on_terminal() -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let target = ProgressDrawTarget::stderr();
        // The terminal calls itself dumb.
        if target.is_hidden() {
            return None;
        }
        let style = ProgressStyle::with_template("{msg}").expect("must parse: the template is a constant");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Some(Self(bar.with_finish(ProgressFinish::AndClear)))
    }

    /// Draws a snapshot.
    pub fn draw(&self, snapshot: &Snapshot) {
        let (height, width) = console::Term::stderr().size();
        // Stay clear of the edges, because terminals differ in when they wrap and scroll.
        let less = |n: u16| usize::from(n.saturating_sub(1));
        let colour = console::colors_enabled_stderr();
        let look = Look { width: less(width), height: less(height), colour };
        self.0.set_message(lines(snapshot, look).join("\n"));
    }

    /// Removes the dashboard.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Returns a writer for text that stays above the dashboard.
    fn above(&self) -> Above {
        Above(self.0.clone())
    }
}

struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
