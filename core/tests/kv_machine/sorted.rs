//! A second implementation of the tables: one sorted vector.

use bytes::Bytes;
use kvorum_core::kv::{Order, Table, TableFailure, Tables};

#[derive(Default, Clone)]
pub struct Sorted(Vec<(Table, Vec<u8>, Bytes)>);

impl Sorted {
    fn find(&self, table: Table, key: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(t, k, _)| (*t, &k[..]).cmp(&(table, key)))
    }
}

impl Tables for Sorted {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure> {
        Ok(self.find(table, key).ok().map(|at| self.0[at].2.clone()))
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure> {
        let inside = |(t, k, _): &&(Table, Vec<u8>, Bytes)| {
            *t == table && &k[..] >= start && end.is_none_or(|end| &k[..] < end)
        };
        let mut rows: Vec<_> = self.0.iter().filter(inside).collect();
        if order == Order::Descending {
            rows.reverse();
        }
        let _ = rows.into_iter().all(|(_, key, value)| visit(key, value));
        Ok(())
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        match self.find(table, key) {
            Ok(at) => self.0[at].2 = value,
            Err(at) => self.0.insert(at, (table, key.to_vec(), value)),
        }
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        if let Ok(at) = self.find(table, key) {
            self.0.remove(at);
        }
    }
}
