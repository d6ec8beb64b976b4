//! Running a search, and the numbers it leaves.
//!
//! Rule: the table in `docs/model-checking.md` is written here, from the same run that was judged.
//! Must never: judge by time.

use crate::{
    setup::Setup,
    sights::Sight,
    story,
    world::{World, names},
};
use stateright::{
    Checker, HasDiscoveries, Model, Path,
    report::{ReportData, ReportDiscovery, Reporter},
};
use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
    fs,
    hash::Hash,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// What a search found.
pub struct Found {
    pub setup: Setup,
    /// Different states, and transitions that led to them or to known ones.
    pub unique: usize,
    pub total: usize,
    /// Steps of the longest of all shortest paths.
    pub depth: usize,
    /// Steps of single nodes that the shipped code took.
    pub steps: usize,
    pub seconds: u64,
    /// Everything within the bounds was looked at.
    pub complete: bool,
    pub seen: Vec<Sight>,
    /// The shortest run that breaks a rule: which one, after how many steps, and how.
    pub broken: Option<(&'static str, usize, String)>,
}

/// Shows how far a search is.
struct Progress {
    name: &'static str,
    shown: Option<Instant>,
}

impl<M: Model> Reporter<M> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        if data.done || self.shown.is_some_and(|at| at.elapsed() < Duration::from_secs(10)) {
            return;
        }
        self.shown = Some(Instant::now());
        println!(
            "… {}: {} states, depth {}, {} s",
            self.name,
            data.unique_states,
            data.max_depth,
            data.duration.as_secs()
        );
    }

    fn report_discoveries(&mut self, _: &M, _: BTreeMap<&'static str, ReportDiscovery<M>>)
    where
        M::Action: Debug + PartialEq,
        M::State: Debug + Hash + PartialEq,
    {
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(50)
    }
}

/// Looks at every state within the bounds, nearest first, until a rule is broken.
pub fn search(setup: Setup) -> Found {
    let (name, at_most, begun) = (setup.name, setup.at_most, Instant::now());
    let world = World::new(setup.clone());
    let checker = world
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(at_most)
        .spawn_bfs()
        .report(&mut Progress { name, shown: None });
    let world = checker.model();
    let broken = checker.discoveries().into_iter().next().map(|(rule, path): (_, Path<_, _>)| {
        let actions = path.into_actions();
        (rule, actions.len(), story::tell(world, &actions))
    });
    let steps = world.tables.lock().expect("the search is over").tables.steps();
    let total = checker.state_count();
    Found {
        unique: checker.unique_state_count(),
        total,
        depth: checker.max_depth().saturating_sub(1),
        steps,
        seconds: begun.elapsed().as_secs(),
        complete: total < at_most && broken.is_none(),
        seen: names(world.seen.load(Ordering::Relaxed)),
        broken,
        setup,
    }
}

/// Searches, prints, and insists that nothing is broken and that the search was worth it.
pub fn check(setup: Setup) -> Found {
    let found = search(setup);
    let Found { setup, unique, total, depth, steps, seconds, complete, seen, .. } = &found;
    println!(
        "{}: {unique} states, {total} transitions, depth {depth}, {steps} steps, {seconds} s{}; {}",
        setup.name,
        if *complete { "" } else { ", cut off" },
        in_words(seen)
    );
    if let Some((rule, steps, story)) = &found.broken {
        panic!("{}: not true after {steps} steps: {rule}\n{story}", setup.name);
    }
    for sight in &setup.expected {
        assert!(seen.contains(sight), "{}: never saw {}", setup.name, sight.name());
    }
    assert!(*unique >= setup.at_least, "{}: only {unique} states: too few", setup.name);
    found
}

fn in_words(seen: &[Sight]) -> String {
    let names: Vec<&str> = seen.iter().map(|sight| sight.name()).collect();
    names.join(", ")
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The table of some searches, as Markdown.
pub fn table(founds: &[Found]) -> String {
    let mut out = String::from(
        "| search | bounds | states | transitions | depth | steps of the shipped code | seconds | seen |\n\
         |---|---|--:|--:|--:|--:|--:|---|\n",
    );
    for found in founds {
        let _ = writeln!(
            out,
            "| {} | {} | {}{} | {} | {} | {} | {} | {} |",
            found.setup.name,
            found.setup.bounds(),
            thousands(found.unique),
            if found.complete { "" } else { " (cut off)" },
            thousands(found.total),
            found.depth,
            thousands(found.steps),
            found.seconds,
            in_words(&found.seen)
        );
    }
    out
}

/// Puts a table into a document, between its marks.
pub fn write(file: &str, mark: &str, table: &str) {
    let text = fs::read_to_string(file).expect("the document");
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (head, rest) = text.split_once(&begin).expect("where the table begins");
    let (_, tail) = rest.split_once(&end).expect("where the table ends");
    fs::write(file, format!("{head}{begin}{table}{end}{tail}")).expect("the document is writable");
}
