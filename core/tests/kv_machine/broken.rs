//! Tables that are broken on purpose: the comparison with the model must notice each kind.

use crate::{agree, generate};
use bytes::Bytes;
use kvorum_core::kv::{MemoryTables, Order, Table, TableFailure, Tables};
use quickcheck::Gen;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    LosesDeletes(Table),
    LosesPuts(Table),
    LosesOverwrites(Table),
    ScansPastTheEnd,
    ScansWithoutTheFirst,
    IgnoresTheOrder,
    IgnoresTheStop,
    ForgetsTheLastByte(Table),
    FindsNothing(Table),
}

struct Broken {
    tables: MemoryTables,
    fault: Fault,
}

impl Tables for Broken {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure> {
        if self.fault == Fault::FindsNothing(table) {
            return Ok(None);
        }
        self.tables.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure> {
        let past = end.map(|end| [end, &[0]].concat());
        match self.fault {
            Fault::ScansPastTheEnd => self.tables.scan(table, start, past.as_deref(), order, visit),
            Fault::ScansWithoutTheFirst => {
                let start = [start, &[0]].concat();
                self.tables.scan(table, &start, end, order, visit)
            }
            Fault::IgnoresTheOrder => self.tables.scan(table, start, end, Order::Ascending, visit),
            Fault::IgnoresTheStop => {
                self.tables.scan(table, start, end, order, &mut |key, value| {
                    visit(key, value);
                    true
                })
            }
            _ => self.tables.scan(table, start, end, order, visit),
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        let there = self.tables.get(table, key).unwrap().is_some();
        match self.fault {
            Fault::LosesPuts(of) if of == table => {}
            Fault::LosesOverwrites(of) if of == table && there => {}
            Fault::ForgetsTheLastByte(of) if of == table && !value.is_empty() => {
                self.tables.put(table, key, value.slice(..value.len() - 1));
            }
            _ => self.tables.put(table, key, value),
        }
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        if self.fault != Fault::LosesDeletes(table) {
            self.tables.delete(table, key);
        }
    }
}

/// After how many random sequences the comparison fails.
fn caught_after(fault: Option<Fault>) -> Option<u64> {
    (0..40).find(|seed| {
        let mut g = Gen::from_size_and_seed(50, *seed);
        let commands: Vec<_> = (0..50).map(|_| generate::command(&mut g)).collect();
        match fault {
            None => agree::agree(&commands, &mut MemoryTables::default()).is_err(),
            Some(fault) => {
                let tables = MemoryTables::default();
                agree::agree(&commands, &mut Broken { tables, fault }).is_err()
            }
        }
    })
}

#[test]
fn every_kind_of_broken_tables_is_noticed() {
    use Table::{Dedup, History, Latest, Leases, Meta, Revisions};
    let mut faults = vec![
        Fault::LosesDeletes(Latest),
        Fault::LosesDeletes(History),
        Fault::LosesDeletes(Revisions),
        Fault::LosesDeletes(Leases),
        Fault::LosesOverwrites(Leases),
        Fault::LosesOverwrites(Meta),
        Fault::LosesOverwrites(Latest),
        Fault::ScansPastTheEnd,
        Fault::ScansWithoutTheFirst,
        Fault::IgnoresTheOrder,
        Fault::IgnoresTheStop,
    ];
    for table in [Meta, Latest, History, Revisions, Dedup, Leases] {
        faults.push(Fault::LosesPuts(table));
        faults.push(Fault::ForgetsTheLastByte(table));
        faults.push(Fault::FindsNothing(table));
    }
    // A change is listed by scans only; nothing looks one up.
    faults.retain(|fault| *fault != Fault::FindsNothing(Revisions));
    let missed: Vec<_> =
        faults.iter().filter(|fault| caught_after(Some(**fault)).is_none()).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    assert_eq!(caught_after(None), None, "sound tables must pass the same sequences");
}
