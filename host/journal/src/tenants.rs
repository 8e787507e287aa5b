//! Who the records of a chunk are accounted to.

use std::collections::HashMap;
use std::ops::Range;

/// A tenant for each record of a chunk, as a code into the distinct ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tenants {
    /// The distinct tenants, in order of first appearance.
    pub(crate) values: Vec<Box<str>>,
    /// One a record; empty where no record has a tenant.
    pub(crate) codes: Box<[u32]>,
    /// How many records each of the distinct tenants has.
    pub(crate) counts: Box<[u64]>,
}

/// The code of a record that has no tenant.
pub(crate) const NOBODY: u32 = u32::MAX;

impl Tenants {
    pub(crate) fn new(values: Vec<Box<str>>, codes: Box<[u32]>) -> Self {
        let counts = count(values.len(), &codes);
        Self { values, codes, counts }
    }

    pub(crate) fn of<'a>(records: impl Iterator<Item = Option<&'a str>> + Clone) -> Self {
        if records.clone().all(|tenant| tenant.is_none()) {
            return Self::default();
        }
        let mut values: Vec<Box<str>> = Vec::new();
        let mut known: HashMap<&'a str, u32> = HashMap::new();
        // Records of one tenant come in runs.
        let mut last: Option<(&'a str, u32)> = None;
        let codes = records
            .map(|tenant| {
                let Some(tenant) = tenant else { return NOBODY };
                if let Some((same, code)) = last
                    && same == tenant
                {
                    return code;
                }
                let code = *known.entry(tenant).or_insert_with(|| {
                    values.push(tenant.into());
                    u32::try_from(values.len() - 1).unwrap_or(NOBODY)
                });
                last = Some((tenant, code));
                code
            })
            .collect();
        Self::new(values, codes)
    }

    /// The tenant of a record.
    pub(crate) fn get(&self, record: usize) -> Option<&str> {
        let code = *self.codes.get(record)?;
        self.values.get(code as usize).map(AsRef::as_ref)
    }
}

fn count(distinct: usize, codes: &[u32]) -> Box<[u64]> {
    let mut counts = vec![0; distinct];
    for &code in codes {
        if let Some(count) = counts.get_mut(code as usize) {
            *count += 1;
        }
    }
    counts.into()
}

/// Whose the records of some chunks are.
#[derive(Debug, Default)]
pub(crate) struct Whose<'a>(Vec<(u64, &'a Tenants)>);

impl<'a> Whose<'a> {
    /// Adds the tenants of a chunk whose first record is at `position`.
    pub(crate) fn add(&mut self, position: u64, tenants: &'a Tenants) {
        if !tenants.codes.is_empty() {
            self.0.push((position, tenants));
        }
    }

    /// Gives each tenant that has records at these positions to `each`, with how many. What is known
    /// of a chunk that lies in there whole is not counted again.
    pub(crate) fn count(&self, range: &Range<u64>, mut each: impl FnMut(&'a str, u64)) {
        for &(position, tenants) in &self.0 {
            let end = position.saturating_add(tenants.codes.len() as u64);
            let (from, to) = (range.start.max(position), range.end.min(end));
            if from >= to {
                continue;
            }
            let index = |at: u64| usize::try_from(at - position).unwrap_or(usize::MAX);
            let counted;
            let counts = if (from, to) == (position, end) {
                &tenants.counts
            } else {
                let codes = tenants.codes.get(index(from)..index(to)).unwrap_or_default();
                counted = count(tenants.values.len(), codes);
                &counted
            };
            for (tenant, &records) in tenants.values.iter().zip(counts) {
                if records > 0 {
                    each(tenant, records);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_each_tenant_are_counted_over_chunks_and_parts_of_them() {
        let first = Tenants::of([Some("acme"), None, Some("bolt"), Some("acme")].into_iter());
        let second = Tenants::of([Some("bolt"), Some("bolt")].into_iter());
        let nobodys = Tenants::default();
        let mut whose = Whose::default();
        whose.add(10, &first);
        whose.add(14, &nobodys);
        whose.add(20, &second);
        let count = |range: Range<u64>| {
            let mut counts = Vec::new();
            whose.count(&range, |tenant, records| counts.push((tenant, records)));
            counts
        };
        assert_eq!(count(0..30), [("acme", 2), ("bolt", 1), ("bolt", 2)]);
        assert_eq!(count(11..21), [("acme", 1), ("bolt", 1), ("bolt", 1)]);
        assert_eq!(count(11..12), []);
        assert_eq!(count(14..20), []);
    }

    #[test]
    fn a_record_has_its_own_tenant_or_none() {
        let records = [Some("acme"), Some("acme"), None, Some("bolt"), Some("acme")];
        let tenants = Tenants::of(records.into_iter());
        assert_eq!(tenants.values.len(), 2);
        let back: Vec<_> = (0..6).map(|record| tenants.get(record)).collect();
        assert_eq!(back[..5], records);
        assert_eq!(back[5], None);
        assert_eq!(Tenants::of([None, None].into_iter()), Tenants::default());
    }
}
