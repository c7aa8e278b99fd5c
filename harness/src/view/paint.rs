//! Lines of text with a limited width, and with colours where they are wanted.

/// Columns and colours of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns that may be used.
    pub width: usize,
    /// Lines that may be used.
    pub height: usize,
    /// Whether colours are wanted.
    pub colour: bool,
}

/// The meaning of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Normal text.
    #[default]
    Plain,
    /// What the eye should find first.
    Strong,
    /// Labels of other things.
    Faint,
    /// Something is done.
    Good,
    /// Something is in progress.
    Fair,
    /// Something is wrong.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Fair => "33",
            Self::Bad => "1;31",
        }
    }
}

/// A line under construction. Each of its characters takes one column.
#[derive(Clone, Debug, Default)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    /// Adds a piece of text.
    pub fn add(&mut self, tone: Tone, text: impl Into<String>) -> &mut Self {
        self.0.push((tone, text.into()));
        self
    }

    /// Returns the number of columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Returns the text, cut off at the edge.
    pub fn text(&self, look: Look) -> String {
        let mut text = String::new();
        let mut left = look.width;
        for (tone, piece) in &self.0 {
            let shown: String = piece.chars().take(left).collect();
            left -= shown.chars().count();
            match tone.code() {
                code if look.colour && !code.is_empty() && !shown.is_empty() => {
                    text.push_str(&format!("\x1b[{code}m{shown}\x1b[0m"));
                }
                _ => text.push_str(&shown),
            }
        }
        // Trailing blanks would only be there to be cleared.
        if look.colour { text } else { text.trim_end().to_owned() }
    }
}

/// Builds a line from a label and as many of the items as fit, beginning with the first.
pub fn items(label: &str, items: Vec<(Tone, String)>, look: Look) -> Line {
    let mut line = Line::default();
    line.add(Tone::Faint, label);
    for (idx, (tone, item)) in items.into_iter().enumerate() {
        let comma = if idx == 0 { "" } else { ", " };
        // The first is shown even if it has to be cut off.
        if idx > 0 && look.width < line.width() + comma.len() + item.chars().count() {
            break;
        }
        line.add(Tone::Plain, comma).add(tone, item);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Look = Look { width: 8, height: 24, colour: false };

    #[test]
    fn a_line_ends_at_the_edge_whatever_its_colours() {
        let mut line = Line::default();
        line.add(Tone::Strong, "12345").add(Tone::Plain, "67890").add(Tone::Bad, "x");
        assert_eq!(line.text(NARROW), "12345678");
        assert_eq!(line.text(Look { colour: true, ..NARROW }), "\x1b[1m12345\x1b[0m678");
    }

    #[test]
    fn items_that_do_not_fit_are_left_out_whole() {
        let three = ["ab", "cd", "efgh"].map(|text| (Tone::Plain, text.to_owned())).to_vec();
        assert_eq!(items("> ", three, NARROW).text(NARROW), "> ab, cd");
    }
}
