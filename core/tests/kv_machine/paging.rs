//! Going on where a bound cut an answer: pages together are the whole, without gap or repeat.

use crate::{
    agree::{Verdict, check},
    generate::{self, Commands},
    model::Model,
    shorthand::{Store, bytes},
};
use kvorum_core::kv::{self, Changes, Group, KeyRange, MemoryTables, Query, Tables};
use quickcheck::Gen;

/// The store and its model after the commands.
fn after(commands: &Commands) -> (MemoryTables, Model, Gen) {
    let (mut tables, mut model) = (MemoryTables::default(), Model::default());
    for command in &commands.0 {
        model.apply(command, kv::status(&tables).unwrap().bytes);
        kv::apply(&mut tables, command).unwrap();
    }
    let seed = kv::digest(&tables).unwrap() as u64;
    (tables, model, Gen::from_size_and_seed(50, seed))
}

fn same<T: PartialEq + std::fmt::Debug>(left: T, right: T, what: &str) -> Verdict {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} is not {right:?}")) }
}

#[test]
fn the_pages_of_a_query_are_the_whole_answer() {
    fn property(commands: Commands) -> Verdict {
        let (tables, model, mut g) = after(&commands);
        for _ in 0..20 {
            let past = generate::below(&mut g, model.revision - model.compacted + 1);
            let whole = Query {
                revision: model.compacted.max(1)
                    + past.min(model.revision - model.compacted.max(1)),
                limit: 0,
                max_bytes: 0,
                count_only: false,
                ..generate::query(&mut g)
            };
            let Ok(expected) = kv::query(&tables, &whole).unwrap() else { continue };
            let mut query = Query {
                limit: generate::below(&mut g, 4),
                max_bytes: 1 + generate::below(&mut g, 400),
                ..whole
            };
            let (mut items, mut groups) = (vec![], vec![]);
            loop {
                let page = kv::query(&tables, &query).unwrap().unwrap();
                let rest = page.more.then(|| query.rest(&page));
                same(page.items.is_empty() && page.groups.is_empty() && page.more, false, "empty")?;
                items.extend(page.items);
                groups.extend(page.groups);
                let Some(rest) = rest else { break };
                query.range = rest.ok_or("no rest although there is more")?;
            }
            same(items, expected.items, &format!("items of {query:?}"))?;
            same(groups, expected.groups, &format!("groups of {query:?}"))?;
        }
        Ok(())
    }
    check(property, 200);
}

#[test]
fn the_history_of_a_key_is_what_the_model_retains_in_pages_of_any_size() {
    fn property(commands: Commands) -> Verdict {
        let (tables, model, mut g) = after(&commands);
        for _ in 0..20 {
            let key = generate::key(&mut g);
            if key.is_empty() {
                continue;
            }
            let (mut past, mut before) = (vec![], 0);
            loop {
                let limit = 1 + generate::below(&mut g, 3) as usize;
                let max_bytes = generate::below(&mut g, 3) * 200;
                let page = kv::history(&tables, &key, before, limit, max_bytes).unwrap().unwrap();
                same((page.revision, page.compacted), (model.revision, model.compacted), "head")?;
                past.extend(page.past);
                match past.last() {
                    Some(last) if page.more => before = last.revision,
                    _ => break,
                }
            }
            let past: Vec<_> =
                past.into_iter().map(|past| (past.revision, past.wall_ms, past.now)).collect();
            same(past, model.history(&key), &format!("the past of {key:?}"))?;
        }
        Ok(())
    }
    check(property, 200);
}

#[test]
fn the_pages_of_changes_are_all_changes_of_the_keys_asked_for() {
    fn property(commands: Commands) -> Verdict {
        let (tables, model, mut g) = after(&commands);
        let range = generate::query(&mut g).range;
        let before = generate::one_in(&mut g, 2);
        let mut from = (model.compacted, 0);
        let mut seen = vec![];
        loop {
            let wanted = Changes {
                from,
                range: range.clone(),
                limit: 1 + generate::below(&mut g, 3) as usize,
                max_rows: 1 + generate::below(&mut g, 4) as usize,
                max_bytes: generate::below(&mut g, 3) * 200,
                before,
            };
            let page = kv::changes_page(&tables, &wanted).unwrap().unwrap();
            same(page.next > from || page.end, true, "progress")?;
            if page.next.1 != 0 {
                let within = |change: &kv::Change| change.revision <= page.next.0;
                same(page.items.iter().all(within), true, "nothing after a revision cut in two")?;
            }
            seen.extend(page.items);
            from = page.next;
            if page.end {
                break;
            }
        }
        same(from, (model.revision + 1, 0), "the end")?;
        let expected: Vec<_> = model
            .retained_changes()
            .into_iter()
            .filter(|change| range.contains(&change.2))
            .map(|mut change| {
                change.4 = change.4.filter(|_| before);
                change
            })
            .collect();
        let seen: Vec<_> = seen
            .into_iter()
            .map(|c| (c.revision, c.sub, c.key, c.now, c.before, c.principal))
            .collect();
        same(seen, expected, "changes")
    }
    check(property, 200);
}

/// A group of a thousand keys costs a scan, not a thousand rows.
#[test]
fn a_group_is_skipped_over() {
    let mut store = Store::default();
    for dir in ["a", "b"] {
        for n in 0..300 {
            store.put(&format!("{dir}/{n:03}"), "v");
        }
    }
    store.put("c", "v");
    let group = Some(Group { after: 0, delimiter: bytes("/") });
    for (descending, revision) in [(false, 0), (true, 0), (false, 601), (true, 601)] {
        let query =
            Query { group: group.clone(), descending, revision, ..Query::of(KeyRange::all()) };
        let counted = crate::cost::Counted::new(store.0.clone());
        let reply = kv::query(&counted as &dyn Tables, &query).unwrap().unwrap();
        let mut groups = vec![bytes("a/"), bytes("b/")];
        if descending {
            groups.reverse();
        }
        assert_eq!(
            (reply.groups, reply.items.len(), reply.more),
            (groups, 1 - usize::from(revision != 0), false)
        );
        assert!(counted.visited() < 60, "{} rows visited", counted.visited());
    }
}
