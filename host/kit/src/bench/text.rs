//! What a plugin costs, for people.

use std::fmt::Write as _;

use wasink_chassis::logger::printable;

use super::{BenchReport, Compared, Cost, Figure, Memory};

/// What stands behind a figure that nobody should rely on.
const NOISY: char = '?';

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";

impl BenchReport {
    /// A table for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} {}, {}, beside `nop` for {:.0} s\n",
            self.world,
            printable(&self.version),
            printable(&self.file),
            self.seconds
        );
        self.costs_text(&mut text);
        self.views_text(&mut text);
        self.start_text(&mut text);
        self.memory_text(&mut text);
        if text.contains(NOISY) {
            text.push_str(
                "\n?  too noisy: fewer than 5 rounds, or the middle half of them spans more than 30 % \
                 of the median.\n   Measure longer with `--seconds`, or where less else runs.\n",
            );
        }
        text
    }

    fn costs_text(&self, text: &mut String) {
        let mut rows = Rows::new([
            "call",
            "records",
            "records/s",
            "a record",
            "x nop",
            "CPU",
            "x nop",
            "rounds",
        ]);
        for cost in &self.costs {
            let what = cost
                .stream
                .map_or(cost.call.to_owned(), |stream| format!("{} {stream}", cost.call));
            let size = if cost.size == 0 { "none".to_owned() } else { number(cost.size as u64) };
            let each = |compared: Option<Compared>| {
                compared.map_or([NOTHING.to_owned(), NOTHING.to_owned()], |compared| {
                    [figure(&compared.subject, &time), figure(&compared.ratio, &times)]
                })
            };
            let rate = cost.records_per_second.map_or(NOTHING.to_owned(), rate);
            let rounds = cost.wall.map_or(0, |wall| wall.subject.rounds).to_string();
            let ([wall, ratio], [cpu, cpu_ratio]) = (each(cost.wall), each(cost.cpu));
            rows.push([what, size, rate, wall, ratio, cpu, cpu_ratio, rounds]);
        }
        rows.write(text);
        for cost in &self.costs {
            let Cost { call, stream, size, records, exceptions, failed, .. } = cost;
            let stream = stream.map_or_else(String::new, |stream| format!(" of `{stream}`"));
            if *exceptions > 0 {
                let (some, all) = (number(*exceptions), number(*records));
                let _infallible = writeln!(
                    text,
                    "`{call}`{stream}, {size} at a time: {some} of {all} were not simply delivered"
                );
            }
            if let Some(reason) = failed {
                let reason = printable(reason);
                let _infallible =
                    writeln!(text, "`{call}`{stream}, {size} at a time: FAILED: {reason}");
            }
        }
    }

    fn views_text(&self, text: &mut String) {
        if self.views.is_empty() {
            return;
        }
        let mut rows = Rows::new([
            "view",
            "stream",
            "calls a batch",
            "bytes in a record",
            "moved by the host",
        ]);
        for asked in &self.views {
            rows.push([
                asked.count.view.as_str().to_owned(),
                asked.stream.to_string(),
                format!("{:.1}", part(asked.count.calls, asked.batches)),
                format!("{:.0}", part(asked.count.crossed, asked.records)),
                format!("{:.0}", part(asked.count.moved, asked.records)),
            ]);
        }
        rows.write(text);
    }

    fn start_text(&self, text: &mut String) {
        let mut rows = Rows::new(["start", "time", "nop", "x nop", "rounds"]);
        for started in &self.start {
            let what = match started.what {
                "compile" => "compile, nothing in the cache",
                "load" => "load compiled code",
                _ => "instantiate and open",
            };
            let Some(wall) = started.wall else { continue };
            rows.push([
                what.to_owned(),
                figure(&wall.subject, &time),
                figure(&wall.nop, &time),
                figure(&wall.ratio, &times),
                wall.subject.rounds.to_string(),
            ]);
        }
        rows.write(text);
    }

    fn memory_text(&self, text: &mut String) {
        let mut rows = Rows::new(["memory", "opened", "warm", "peak", "growth"]);
        for (of, memory) in [("plugin", self.memory.subject), ("nop", self.memory.nop)] {
            let Memory { opened, warm, peak, growth } = memory;
            let [opened, warm, peak, growth] = [opened, warm, peak, growth].map(bytes);
            rows.push([of.to_owned(), opened, warm, peak, growth]);
        }
        rows.write(text);
    }
}

/// Rows of text, as wide as they have to be.
struct Rows<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Rows<N> {
    fn new(head: [&str; N]) -> Self {
        Self(vec![head.map(str::to_owned)])
    }

    fn push(&mut self, row: [String; N]) {
        self.0.push(row);
    }

    /// The first column to the left, the others to the right.
    fn write(&self, text: &mut String) {
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        text.push('\n');
        for row in &self.0 {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                let _infallible = match column {
                    0 => write!(text, "{cell:width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
    }
}

/// A median, and how far the rounds are from it.
fn figure(figure: &Figure, words: &dyn Fn(f64) -> String) -> String {
    let mark = if figure.noisy { NOISY } else { ' ' };
    format!("{} ±{:.0}%{mark}", words(figure.median), figure.spread * 50.0)
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// Of nanoseconds.
fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let found = units.into_iter().find(|(unit, _)| nanoseconds >= *unit);
    let (unit, name) = found.unwrap_or((1.0, "ns"));
    let value = nanoseconds / unit;
    if value < 10.0 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

fn bytes(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { format!("{} KiB", number(bytes.div_ceil(1 << 10))) }
}

/// Three digits of it: nobody knows more.
fn rate(rate: f64) -> String {
    let mut unit = 1.0;
    while rate / unit >= 1_000.0 {
        unit *= 10.0;
    }
    let rounded = (rate / unit).round() * unit;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is above 0, and far below what the type holds"
    )]
    let rounded = rounded as u64;
    number(rounded)
}

/// A number with its thousands parted.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn part(some: u64, all: u64) -> f64 {
    some as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_they_deserve() {
        assert_eq!((rate(1_234_567.0), rate(87.6)), ("1,230,000".to_owned(), "88".to_owned()));
        assert_eq!((time(999.0), time(1_500.0)), ("999 ns".to_owned(), "1.5 µs".to_owned()));
        assert_eq!((times(1.234), times(123.4)), ("1.23".to_owned(), "123".to_owned()));
        assert_eq!((bytes(0), bytes(1 << 20)), ("0".to_owned(), "1,024 KiB".to_owned()));
    }

    #[test]
    fn what_is_too_noisy_is_marked() {
        let steady = Figure::of(vec![1e3; 5]).unwrap();
        assert_eq!(figure(&steady, &time), "1.0 µs ±0% ");
        let noisy = Figure::of(vec![1e3, 2e3, 1e3, 2e3, 3e3]).unwrap();
        assert_eq!(figure(&noisy, &time), "2.0 µs ±25%?");
    }
}
