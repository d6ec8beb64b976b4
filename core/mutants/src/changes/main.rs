//! `make cargo-mutants`: judges every change that cargo-mutants knows and writes
//! `docs/mutants-survivors.md`. See README.md.

use kvorum_mutants::{
    binaries::{self, Extent},
    changes::{
        explained,
        judge::{BOUNDS, SEEDS},
        list::{self, Change},
        table, viable,
    },
    copy::{self, Copy},
    ended,
    judge::{self, Bench, Kill, Verdict},
    parallel,
    results::{self, Basis},
    root,
    source::{self, Sources},
    weave::Layer,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

const USAGE: &str = "\
kvorum-changes [--only <part of an id>]... [--jobs <n>] [--keep] [--scripts] [--survivors] [--table]
  --only       only the changes whose id contains this; the document is written all the same
  --jobs       so many at a time (2)
  --keep       what was found before stays found, although sources or tests have changed
  --scripts    only scripts and unit tests; what these do not find stays open
  --survivors  print what survives, ready to be explained in core/mutants/survivors.txt
  --table      judge nothing: the document from what was judged before";

struct Options {
    only: Vec<String>,
    jobs: usize,
    keep: bool,
    scripts: bool,
    survivors: bool,
    table: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        only: Vec::new(),
        jobs: 2,
        keep: false,
        scripts: false,
        survivors: false,
        table: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--only" => options.only.push(value()?),
            "--jobs" => options.jobs = value()?.parse().map_err(|_| "--jobs needs a number")?,
            "--keep" => options.keep = true,
            "--scripts" => options.scripts = true,
            "--survivors" => options.survivors = true,
            "--table" => (options.table, options.keep) = (true, true),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    ended(work())
}

fn work() -> Result<Vec<String>, String> {
    let options = options()?;
    let root = root();
    let sources = source::read(&root)?;
    let reasons = explained::all(&root)?;
    let changes = list::ask(&root, &sources)?;
    println!("{} changes", changes.len());
    let run = Run { root, sources, changes, options };
    let mut verdicts = if run.options.table { run.known() } else { run.judge()? };
    let judged: Vec<table::Judged> = run
        .changes
        .iter()
        .enumerate()
        .map(|(at, change)| (change.clone(), verdicts.remove(&at)))
        .collect();
    if run.options.survivors {
        for (change, verdict) in &judged {
            if table::fate(verdict.as_ref()) == table::Fate::Survived {
                println!("change: {}", change.id);
            }
        }
    }
    let path = run.root.join("docs/mutants-survivors.md");
    fs::write(&path, table::document(&judged, &reasons)).map_err(|error| error.to_string())?;
    Ok(table::failures(&judged, &reasons))
}

/// What is to be judged.
struct Run {
    root: PathBuf,
    sources: Sources,
    changes: Vec<Change>,
    options: Options,
}

/// Verdicts by position in the list.
type Verdicts = BTreeMap<usize, Verdict>;

impl Run {
    /// Where the verdict of a change is kept, and what it was found for.
    fn place(&self, at: usize) -> (String, u64) {
        let change = &self.changes[at];
        let print = change.fingerprint(&self.sources[&change.file]);
        let file = change.file.replace(['/', '.'], "-");
        (format!("changes/{file}-{print:016x}"), print)
    }

    fn load(&self, at: usize, copy: u64, keep: bool) -> Option<Verdict> {
        let (name, mutant) = self.place(at);
        results::load(&self.root, &name, Basis { copy, mutant }, keep)
    }

    fn store(&self, at: usize, copy: u64, verdict: &Verdict) -> Result<(), String> {
        let (name, mutant) = self.place(at);
        results::store(&self.root, &name, Basis { copy, mutant }, verdict)
    }

    /// Everything that was judged before.
    fn known(&self) -> Verdicts {
        let load = |at| Some((at, self.load(at, 0, true)?));
        (0..self.changes.len()).filter_map(load).collect()
    }

    /// The verdict that need not be found again. What survived may be found by what was added since.
    fn settled(&self, at: usize, copy: u64) -> Option<Verdict> {
        let found = self.load(at, copy, self.options.keep);
        found.filter(|verdict| verdict.first.is_some()).or_else(|| self.load(at, copy, false))
    }

    fn judge(&self) -> Result<Verdicts, String> {
        let began = Instant::now();
        // What did not compile before is left out at once, where earlier verdicts are taken.
        let compiler = |at| {
            let kill = self.load(at, 0, self.options.keep)?.first?;
            (kill.check == table::UNVIABLE).then_some((at, kill.name))
        };
        let before = (0..self.changes.len()).filter_map(compiler).collect();
        let (copy, unviable) = viable::settle(&self.root, &self.sources, &self.changes, before)?;
        println!("{} do not compile, {} s", unviable.len(), began.elapsed().as_secs());
        let mut verdicts = Verdicts::new();
        let mut todo = Vec::new();
        for (at, change) in self.changes.iter().enumerate() {
            if let Some(what) = unviable.get(&at) {
                let verdict = did_not_compile(what);
                self.store(at, copy.fingerprint, &verdict)?;
                verdicts.insert(at, verdict);
            } else if let Some(verdict) = self.settled(at, copy.fingerprint) {
                verdicts.insert(at, verdict);
            } else if self.options.only.is_empty()
                || self.options.only.iter().any(|part| change.id.contains(part.as_str()))
            {
                todo.push(at);
            }
        }
        let scratch = judge::scratch(&copy::workshop(&self.root)).join("changes");
        fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let has_body = |at: &usize| self.changes[*at].body.is_some();
        let (together, alone): (Vec<usize>, Vec<usize>) = todo.into_iter().partition(has_body);
        if !together.is_empty() {
            verdicts.extend(self.judge_together(&copy, &together, &scratch)?);
        }
        for at in alone.into_iter().filter(|_| !self.options.scripts) {
            let verdict = by_itself(&self.root, &self.sources, &self.changes[at], &scratch)?;
            self.store(at, copy.fingerprint, &verdict)?;
            println!("{}: {}", self.changes[at].id, summary(&verdict));
            verdicts.insert(at, verdict);
        }
        Ok(verdicts)
    }

    /// Judges what is woven into one copy.
    fn judge_together(
        &self,
        copy: &Copy,
        todo: &[usize],
        scratch: &Path,
    ) -> Result<Vec<(usize, Verdict)>, String> {
        let began = Instant::now();
        let extent = if self.options.scripts { Extent::Scripts } else { Extent::Changes };
        let binaries = binaries::build(&self.root, copy, extent)?;
        println!("built in {} s", began.elapsed().as_secs());
        let bench = Bench { binaries, scratch: scratch.to_owned(), bounds: BOUNDS };
        bench.baseline(SEEDS).map_err(|what| format!("without any change: {what}"))?;
        println!("without a change all pass, {} s", began.elapsed().as_secs());
        let line =
            |at: usize, verdict: &Verdict| format!("{}: {}", self.changes[at].id, summary(verdict));
        let by_scripts = parallel::judge(todo, self.options.jobs, |at| {
            let verdict = bench.judge_by_scripts(at + 1, &self.changes[at].file)?;
            if verdict.first.is_some() {
                self.store(at, copy.fingerprint, &verdict)?;
            }
            Ok((line(at, &verdict), verdict))
        })?;
        let (mut judged, left): (Vec<_>, Vec<_>) =
            by_scripts.into_iter().partition(|(_, verdict)| verdict.first.is_some());
        println!("{} are left, {} s", left.len(), began.elapsed().as_secs());
        if self.options.scripts {
            return Ok(judged);
        }
        let left: Vec<usize> = left.into_iter().map(|(at, _)| at).collect();
        judged.extend(parallel::judge(&left, self.options.jobs, |at| {
            let verdict = bench.judge_by_chance(at + 1)?;
            self.store(at, copy.fingerprint, &verdict)?;
            Ok((line(at, &verdict), verdict))
        })?);
        Ok(judged)
    }
}

fn did_not_compile(what: &str) -> Verdict {
    let (check, name) = (table::UNVIABLE.to_owned(), what.to_owned());
    let first = Some(Kill { check, name, after: String::new() });
    Verdict { first, ..Verdict::default() }
}

/// A constant has no alternatives: a copy of its own for each change.
fn by_itself(
    root: &Path,
    sources: &Sources,
    change: &Change,
    scratch: &Path,
) -> Result<Verdict, String> {
    let mut changed = sources.clone();
    changed.insert(change.file.clone(), change.changed(&sources[&change.file]));
    let layer = Layer { sources: changed, mutants: Vec::new() };
    let copy = copy::make(root, "changed", &layer, "", Extent::Changes)?;
    if !binaries::check(root, &copy)?.0 {
        return Ok(did_not_compile("it does not compile"));
    }
    let binaries = binaries::build(root, &copy, Extent::Changes)?;
    let bench = Bench { binaries, scratch: scratch.to_owned(), bounds: BOUNDS };
    let verdict = bench.judge_by_scripts(0, &change.file)?;
    if verdict.first.is_some() { Ok(verdict) } else { bench.judge_by_chance(0) }
}

fn summary(verdict: &Verdict) -> String {
    let found = verdict.first.as_ref().map_or_else(
        || "SURVIVED".to_owned(),
        |kill| format!("{}: {} ({})", kill.check, kill.name, kill.after),
    );
    format!("{found}, {:.1} s", verdict.seconds)
}
