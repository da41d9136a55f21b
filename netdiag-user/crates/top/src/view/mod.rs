//! A frame: head, table or page, foot. Everything is put into ratatui's buffer cell by cell.
mod cause;
mod command;
mod figures;
mod foot;
mod head;
mod ink;
mod line;
mod page;
mod row;
mod spark;
mod table;
mod way;

use netdiag_lang::t;
use ratatui::{buffer::Buffer, layout::Rect};

pub use self::ink::Ink;
use super::app::App;

/// Smaller than that there is nothing to see.
const SMALLEST: (u16, u16) = (20, 5);
/// From so many lines on the row at hand is told in full below the table.
const ROOMY: u16 = 16;

/// Where on the screen a part may draw, and how.
#[derive(Clone, Copy)]
struct Canvas<'a> {
    ink: &'a Ink,
    area: Rect,
}

impl Canvas<'_> {
    /// Its lines from `top` on, so many at most.
    fn rows(&self, top: u16, height: u16) -> Self {
        let top = top.min(self.area.height);
        let area = Rect {
            y: self.area.y + top,
            height: height.min(self.area.height - top),
            ..self.area
        };
        Self { area, ..*self }
    }

    fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    fn height(&self) -> usize {
        usize::from(self.area.height)
    }
}

/// Draws all of it. What is drawn says where keys lead, so that is kept with the app.
pub fn draw(app: &mut App, ink: &Ink, buffer: &mut Buffer) {
    let all = Canvas {
        ink,
        area: buffer.area,
    };
    let (width, height) = (all.area.width, all.area.height);
    if width < SMALLEST.0 || height < SMALLEST.1 {
        let small = line::Line::plain(t!("too small"));
        small.put(&all, 0, false, buffer);
        return;
    }
    let timeline = foot::has_timeline(app);
    let tall = height >= ROOMY;
    let heads = if tall { 3 } else { 2 };
    let feet = 1 + u16::from(timeline);
    head::draw(app, &all.rows(0, heads), buffer);
    let body = all.rows(heads, height - heads - feet);
    match app.pages.is_empty() {
        true => table::draw(app, &body, tall, buffer),
        false => page::draw(app, &body, buffer),
    }
    foot::draw(app, &all.rows(height - feet, feet), timeline, buffer);
}
