//! Clocks, rounds and medians.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

/// What some work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// On the wall.
    pub(crate) wall: Duration,
    /// Of all threads of this process.
    pub(crate) cpu: Duration,
}

impl Cost {
    /// Nanoseconds of CPU for each of `count`.
    pub(crate) fn cpu_each(&self, count: usize) -> f64 {
        each(self.cpu, count)
    }

    /// Nanoseconds on the wall for each of `count`.
    pub(crate) fn wall_each(&self, count: usize) -> f64 {
        each(self.wall, count)
    }

    /// Millions in a second.
    pub(crate) fn millions(&self, count: usize) -> f64 {
        1e3 / self.wall_each(count)
    }
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e9 / count as f64
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// Does `work` and tells what it took.
pub(crate) fn cost(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (started, before) = (Instant::now(), cpu());
    work()?;
    Ok(Cost { wall: started.elapsed(), cpu: cpu() - before })
}

/// Ours and a peer's, measured in turns.
pub(crate) struct Rivals {
    /// The median of the rounds, by wall and by CPU.
    pub(crate) ours: Cost,
    /// The same of the peer.
    pub(crate) peer: Cost,
    /// The peer's time over ours on the wall, the median of the rounds: our share of its throughput.
    pub(crate) throughput: f64,
    /// Our CPU over the peer's, the median of the rounds.
    pub(crate) cpu: f64,
}

/// Rounds of ours and the peer's in turns, who goes first alternating; each returns what it took of
/// a round. The first round warms up and does not count.
pub(crate) fn rivals(
    rounds: usize,
    mut ours: impl FnMut() -> Result<Cost>,
    mut peer: impl FnMut() -> Result<Cost>,
) -> Result<Rivals> {
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            let ours = ours()?;
            (ours, peer()?)
        } else {
            let peer = peer()?;
            (ours()?, peer)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    let time = |get: fn(&(Cost, Cost)) -> Duration| median(pairs.iter().map(get).collect());
    let ratio = |get: fn(&(Cost, Cost)) -> f64| median(pairs.iter().map(get).collect());
    Ok(Rivals {
        ours: Cost { wall: time(|(ours, _)| ours.wall), cpu: time(|(ours, _)| ours.cpu) },
        peer: Cost { wall: time(|(_, peer)| peer.wall), cpu: time(|(_, peer)| peer.cpu) },
        throughput: ratio(|(ours, peer)| peer.wall.as_secs_f64() / ours.wall.as_secs_f64()),
        cpu: ratio(|(ours, peer)| ours.cpu.as_secs_f64() / peer.cpu.as_secs_f64()),
    })
}

/// The middle one; the default where there is none.
pub(crate) fn median<T: PartialOrd + Copy + Default>(values: Vec<T>) -> T {
    quantile(values, 0.5)
}

/// The value below which this part of all values lies.
pub(crate) fn quantile<T: PartialOrd + Copy + Default>(mut values: Vec<T>, part: f64) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let last = values.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, reason = "it is at most `last`")]
    let index = (last as f64 * part).round() as usize;
    values.get(index).copied().unwrap_or_default()
}
