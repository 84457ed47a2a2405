//! A line chart as inline SVG.

use std::fmt::Write as _;

use super::escape;
use super::scale::{Axis, Scale};

/// Size of the drawing, and its margins for labels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;

/// Colours that there are.
const COLORS: usize = 6;

/// A chart with its heading.
pub struct Chart<'a> {
    /// The heading.
    pub title: &'a str,
    /// What lies to the right.
    pub x: Scale,
    /// What lies above.
    pub y: Scale,
    /// The lines; those of one name and colour share a place in the legend.
    pub lines: Vec<Line>,
}

/// A line of a chart.
pub struct Line {
    /// What it is called.
    pub name: String,
    /// The number of its colour.
    pub color: usize,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// Writes the chart as a section of a page; nothing if there is nothing to be seen.
    pub fn write(&self, page: &mut String) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        if points().next().is_none() {
            return;
        }
        let x = self.x.fit(points().map(|point| point.0));
        let y = self.y.fit(points().map(|point| point.1));
        let _ = writeln!(page, "<section><h2>{}</h2>", escape(self.title));
        self.legend(page);
        let _ = writeln!(
            page,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        );
        frame(&x, &y, page);
        for line in &self.lines {
            let _ = write!(page, "<path class=\"line l{}\" d=\"", line.color % COLORS);
            for (index, point) in line.points.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let _ = write!(page, "{command}{:.1} {:.1}", across(&x, point.0), up(&y, point.1));
            }
            let _ = writeln!(page, "\"><title>{}</title></path>", escape(&line.name));
        }
        page.push_str("</svg></section>\n");
    }

    fn legend(&self, page: &mut String) {
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for line in &self.lines {
            if !seen.contains(&(&line.name, line.color)) {
                seen.push((&line.name, line.color));
            }
        }
        if seen.len() < 2 {
            return;
        }
        page.push_str("<div class=\"legend\">");
        for (name, color) in seen {
            let _ = write!(page, "<span><i class=\"key k{}\"></i>{}</span>", color % COLORS, escape(name));
        }
        page.push_str("</div>\n");
    }
}

/// Grid and labels.
fn frame(x: &Axis, y: &Axis, page: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (place, text) in y.labels() {
        let at = bottom - place * (bottom - TOP);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (place, text) in x.labels() {
        let at = LEFT + place * (right - LEFT);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            bottom + 20.0
        );
    }
    let _ =
        writeln!(page, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>");
}

fn across(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.place(value) * (WIDTH - RIGHT - LEFT)
}

fn up(axis: &Axis, value: f64) -> f64 {
    let bottom = HEIGHT - BOTTOM;
    bottom - axis.place(value) * (bottom - TOP)
}
