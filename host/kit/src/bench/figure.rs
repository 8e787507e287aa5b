//! Figures of several rounds: medians, how far the rounds are apart, and when that is too far.

use serde::Serialize;

/// Fewer rounds than this say little.
const FEWEST_ROUNDS: usize = 5;
/// Where the middle half of the rounds spans more than this part of the median, nobody should rely
/// on it.
const MOST_SPREAD: f64 = 0.3;

/// What several rounds came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The middle one.
    pub median: f64,
    /// A quarter of the rounds is below.
    pub low: f64,
    /// A quarter of the rounds is above.
    pub high: f64,
    /// What lies between those two, as a part of the median.
    pub spread: f64,
    /// How many rounds.
    pub rounds: usize,
    /// Whether there are too few rounds, or they are too far apart, to rely on the median.
    pub noisy: bool,
}

impl Figure {
    /// Of one value a round; `None` where there is none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rounds = values.len();
        let median = quantile(&values, 0.5)?;
        let (low, high) = (quantile(&values, 0.25)?, quantile(&values, 0.75)?);
        let spread = if median > 0.0 { (high - low) / median } else { 0.0 };
        let noisy = rounds < FEWEST_ROUNDS || spread > MOST_SPREAD;
        Some(Self { median, low, high, spread, rounds, noisy })
    }
}

/// The same of a plugin and of `nop`, in turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// The plugin's.
    pub subject: Figure,
    /// That of `nop`.
    pub nop: Figure,
    /// The plugin's as a multiple of that of `nop`, round by round: what slows both is not in it.
    pub ratio: Figure,
}

impl Compared {
    /// Of pairs, the plugin's first; `None` where there are none.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let subject = Figure::of(pairs.iter().map(|(subject, _)| *subject).collect())?;
        let nop = Figure::of(pairs.iter().map(|(_, nop)| *nop).collect())?;
        let ratios = pairs.iter().filter(|(_, nop)| *nop > 0.0);
        let ratio = Figure::of(ratios.map(|(subject, nop)| subject / nop).collect())?;
        Some(Self { subject, nop, ratio })
    }
}

/// The value that this part of all values is below, between two of them where it falls there.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "there are not that many rounds")]
    let at = last as f64 * part;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and `last`"
    )]
    let below = at.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_quarters_lie_between_values_where_they_must() {
        assert_eq!(Figure::of(Vec::new()), None);
        let figure = Figure::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((figure.low, figure.median, figure.high), (1.75, 2.5, 3.25));
        assert!((figure.spread - 0.6).abs() < 1e-9, "{figure:?}");
        let figure = Figure::of(vec![9.0]).unwrap();
        assert_eq!((figure.low, figure.median, figure.high, figure.rounds), (9.0, 9.0, 9.0, 1));
    }

    #[test]
    fn few_rounds_and_rounds_far_apart_are_noise_and_one_outlier_is_not() {
        let noisy = |values: &[f64]| Figure::of(values.to_vec()).unwrap().noisy;
        assert!(noisy(&[1.0, 1.0, 1.0, 1.0]));
        assert!(!noisy(&[1.0, 1.0, 1.0, 1.0, 1.0]));
        assert!(!noisy(&[1.0, 1.02, 0.98, 1.01, 50.0]));
        assert!(noisy(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0]));
        assert!(!noisy(&[0.0; 5]), "nothing at all is nothing each time");
    }

    #[test]
    fn what_slows_both_is_not_in_the_ratio() {
        let pairs: Vec<_> = (1..=9).map(f64::from).map(|slow| (3.0 * slow, slow)).collect();
        let compared = Compared::of(&pairs).unwrap();
        assert!(compared.subject.noisy && compared.nop.noisy);
        assert_eq!((compared.ratio.median, compared.ratio.noisy), (3.0, false));
        assert_eq!(Compared::of(&[(1.0, 0.0)]), None, "nothing is a multiple of nothing");
    }
}
