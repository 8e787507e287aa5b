//! Who the records of a chunk are accounted to.

use std::collections::HashMap;

/// A tenant for each record of a chunk, as a code into the distinct ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tenants {
    /// The distinct tenants, in order of first appearance.
    pub(crate) values: Vec<Box<str>>,
    /// One a record; empty where no record has a tenant.
    pub(crate) codes: Box<[u32]>,
}

/// The code of a record that has no tenant.
pub(crate) const NOBODY: u32 = u32::MAX;

impl Tenants {
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
        Self { values, codes }
    }

    /// The tenant of a record.
    pub(crate) fn get(&self, record: usize) -> Option<&str> {
        let code = *self.codes.get(record)?;
        self.values.get(code as usize).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
