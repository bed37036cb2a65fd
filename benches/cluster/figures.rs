//! What is shown of many figures.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

/// The middle one.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
    match sorted.len() % 2 {
        1 => upper,
        _ => upper.midpoint(sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(upper)),
    }
}

/// The one below which this share of them is, in milliseconds.
pub(crate) fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted
        .get(place)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Median, 99th of a hundred, and the longest.
pub(crate) fn spread(times: &[Duration]) -> String {
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| quantile(times, share));
    format!("{half:.2} ms, {most:.2} ms, {all:.1} ms")
}

/// A table under construction.
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new<'a>(titles: impl IntoIterator<Item = &'a str>) -> Self {
        let titles: Vec<&str> = titles.into_iter().collect();
        let rule = "---|".repeat(titles.len());
        Self(format!("\n| {} |\n|{rule}\n", titles.join(" | ")))
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let cells = cells.join(" | ");
        self.0.extend(["| ", &cells, " |\n"]);
    }

    pub(crate) fn print(self) -> Result<()> {
        say(&self.0)
    }
}

pub(crate) fn say(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
