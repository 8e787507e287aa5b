//! The name of a request: the same whenever the same records are in it, another otherwise.

/// One record gives its id; several the first one's id, how many they are, and a hash of all ids in
/// order. There is no `.` in it, which parts a name from the time where a request is signed.
pub(crate) fn key<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let mut ids = ids.peekable();
    let first = ids.peek().copied().unwrap_or_default();
    let mut count = 0_usize;
    // FNV-1a: nobody but the host chooses ids, so nobody makes two names the same on purpose.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for id in ids {
        count += 1;
        for byte in id.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    match count {
        0 | 1 => first.to_owned(),
        _ => format!("{first}-{count}-{hash:016x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    fn of(ids: &[&str]) -> String {
        key(ids.iter().copied())
    }

    #[test]
    fn the_same_records_have_the_same_name_and_others_another() {
        assert_eq!(of(&["a"]), "a");
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        let all = [of(&["a", "b", "d"]), of(&["a", "c", "d"]), of(&["a", "bd"]), of(&["ab", "d"])];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one) && !one.contains('.'), "{one}");
        }
    }
}
