//! Which of the right names somebody may have meant.

/// Longer names are not compared: nobody meant a name of ours by them.
const MAX_COMPARED: usize = 64;

/// The candidate that `name` is a slip of: at most a third of its letters wrong. The first of equals.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = name.chars().count();
    if length > MAX_COMPARED {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty())
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= length.max(candidate.chars().count()).div_ceil(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b`, `c` ``, in the order given.
pub(super) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = ["file", "nop", "stderr", "capture"];
        assert_eq!(nearest("stdrr", names), Some("stderr"));
        assert_eq!(nearest("flie", names), Some("file"));
        assert_eq!(nearest("kafka", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn an_endless_name_is_not_compared() {
        assert_eq!(nearest(&"x".repeat(100_000), ["x"]), None);
    }
}
