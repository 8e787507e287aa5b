//! Stretches: between the versions that are known, and where some are damaged, void or missing.

use super::*;

fn takeover(number: u64, after: u64, cursor: u64, done: &[(u64, u64)]) -> Takeover {
    let settled = cursor - 10 + done.iter().map(|(from, to)| to - from).sum::<u64>();
    let fates = Fates { delivered: settled, ..Fates::default() };
    let (digest, version) = (format!("d{number}"), String::new());
    Takeover { number, after, digest, version, since: 5, cursor, done: done.to_vec(), fates }
}

/// Of a lane that began at 10: whose doing what is.
fn told(takeovers: &[Takeover], end: &Takeover) -> Vec<(String, Vec<(u64, u64)>)> {
    let stretches = stretches(10, end, takeovers.to_vec());
    let count = |stretch: &Stretch| -> u64 {
        stretch.ranges.iter().map(|range| range.end - range.start).sum()
    };
    assert!(stretches.iter().all(|stretch| stretch.fates.sum() == count(stretch)));
    let pairs = |ranges: Vec<Range<u64>>| {
        ranges.into_iter().map(|range| (range.start, range.end)).collect()
    };
    stretches.into_iter().map(|stretch| (stretch.digest, pairs(stretch.ranges))).collect()
}

fn named(name: &str, ranges: &[(u64, u64)]) -> (String, Vec<(u64, u64)>) {
    (name.to_owned(), ranges.to_vec())
}

#[test]
fn a_stretch_is_what_was_settled_between_one_version_and_the_next_in_any_order() {
    let takeovers = [
        takeover(1, 0, 12, &[]),
        takeover(2, 1, 12, &[(14, 16), (20, 22)]),
        takeover(3, 2, 17, &[(20, 22)]),
    ];
    assert_eq!(
        told(&takeovers, &takeover(u64::MAX, 3, 24, &[(30, 31)])),
        [
            named("", &[(10, 12)]),
            named("d1", &[(14, 16), (20, 22)]),
            named("d2", &[(12, 14), (16, 17)]),
            named("d3", &[(17, 20), (22, 24), (30, 31)]),
        ]
    );
}

#[test]
fn what_lies_around_a_version_that_is_missing_is_nobodys() {
    let takeovers = [takeover(1, 0, 10, &[]), takeover(3, 2, 17, &[])];
    let end = takeover(u64::MAX, 4, 30, &[]);
    assert_eq!(told(&takeovers, &end), [named("", &[(10, 17)]), named("", &[(17, 30)])]);
}

#[test]
fn a_line_that_tells_of_more_than_is_settled_does_not_count() {
    let mut odd = takeover(2, 1, 14, &[]);
    for change in [
        |odd: &mut Takeover| odd.cursor = 40,
        |odd: &mut Takeover| odd.done = vec![(12, 15)],
        |odd: &mut Takeover| odd.fates.delivered += 1,
        |odd: &mut Takeover| odd.number = 9,
    ] {
        change(&mut odd);
        let takeovers = [takeover(1, 0, 10, &[]), odd.clone(), takeover(3, 2, 17, &[])];
        let end = takeover(u64::MAX, 3, 30, &[]);
        assert_eq!(told(&takeovers, &end), [named("", &[(10, 17)]), named("d3", &[(17, 30)])]);
        odd = takeover(2, 1, 14, &[]);
    }
}
