//! A line of a page: pieces of text, each with its tone, and where it leads.
use ratatui::{buffer::Buffer, style::Modifier};

use super::{
    Canvas,
    ink::{Tone, width},
};
use crate::app::Target;

#[derive(Clone, Debug, Default)]
pub struct Line {
    pieces: Vec<(String, Tone)>,
    pub lead: Option<Target>,
}

impl Line {
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self::default().with(text, tone)
    }

    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }

    pub fn with(mut self, text: impl Into<String>, tone: Tone) -> Self {
        self.pieces.push((text.into(), tone));
        self
    }

    pub fn leads(mut self, target: Target) -> Self {
        self.lead = Some(target);
        self
    }

    /// The same behind a sign.
    pub fn after(mut self, sign: &str) -> Self {
        self.pieces.insert(0, (sign.to_owned(), Tone::Plain));
        self
    }

    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(text, _)| width(text)).sum()
    }

    /// Draws it into that line of the canvas, cut where it ends.
    pub fn put(&self, canvas: &Canvas<'_>, row: usize, selected: bool, buffer: &mut Buffer) {
        let (ink, area) = (canvas.ink, canvas.area);
        let Some(y) = u16::try_from(row).ok().filter(|row| *row < area.height) else {
            return;
        };
        let y = area.y + y;
        let mut left = canvas.width();
        for (text, tone) in &self.pieces {
            let text = ink.cut(text, left);
            let x = area.right() - u16::try_from(left).unwrap_or(area.width);
            buffer.set_stringn(x, y, &text, left, ink.style(*tone));
            left = left.saturating_sub(width(&text));
        }
        if selected {
            for x in area.left()..area.right() {
                if let Some(cell) = buffer.cell_mut((x, y)) {
                    cell.set_style(cell.style().add_modifier(Modifier::REVERSED));
                }
            }
        }
    }
}
