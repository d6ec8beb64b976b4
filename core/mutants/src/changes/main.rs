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
    copy,
    judge::{self, Bench, Kill, Verdict},
    parallel,
    results::{self, Basis},
    root, source,
    weave::Layer,
};
use std::{collections::BTreeMap, fs, path::Path, process::ExitCode, time::Instant};

const USAGE: &str = "\
kvorum-changes [--only <part of an id>]... [--jobs <n>] [--keep] [--survivors]
  --only       only the changes whose id contains this; the document is written all the same
  --jobs       so many at a time (2)
  --keep       what was found before stays found, although sources or tests have changed
  --survivors  print what survives, ready to be explained in core/mutants/survivors.txt";

struct Options {
    only: Vec<String>,
    jobs: usize,
    keep: bool,
    survivors: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { only: Vec::new(), jobs: 2, keep: false, survivors: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--only" => options.only.push(value()?),
            "--jobs" => options.jobs = value()?.parse().map_err(|_| "--jobs needs a number")?,
            "--keep" => options.keep = true,
            "--survivors" => options.survivors = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match work() {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{}\n{} in all", failures.join("\n"), failures.len());
            ExitCode::FAILURE
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<Vec<String>, String> {
    let options = options()?;
    let root = root();
    let sources = source::read(&root)?;
    let reasons = explained::all(&root)?;
    let changes = list::ask(&root, &sources)?;
    println!("{} changes", changes.len());
    let began = Instant::now();
    let place = |at: usize| {
        let change: &Change = &changes[at];
        let print = change.fingerprint(&sources[&change.file]);
        let file = change.file.replace(['/', '.'], "-");
        (format!("changes/{file}-{print:016x}"), print)
    };
    let known = |at: usize, copy: u64| {
        let (name, print) = place(at);
        results::load(&root, &name, Basis { copy, mutant: print }, options.keep)
    };
    let compiler = |verdict: &Verdict| {
        verdict.first.clone().filter(|kill| kill.check == table::UNVIABLE).map(|kill| kill.name)
    };
    // What did not compile before is left out at once, where earlier verdicts are taken.
    let before = (0..changes.len())
        .filter_map(|at| Some((at, compiler(&known(at, 0)?)?)))
        .collect::<BTreeMap<usize, String>>();
    let (copy, unviable) = viable::settle(&root, &sources, &changes, before)?;
    println!("{} do not compile, {} s", unviable.len(), began.elapsed().as_secs());
    let keep = |at: usize, verdict: &Verdict| {
        let (name, print) = place(at);
        results::store(&root, &name, Basis { copy: copy.fingerprint, mutant: print }, verdict)
    };
    let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
    let (mut todo, mut alone) = (Vec::new(), Vec::new());
    for (at, change) in changes.iter().enumerate() {
        if let Some(what) = unviable.get(&at) {
            let verdict = did_not_compile(what);
            keep(at, &verdict)?;
            verdicts.insert(at, verdict);
            continue;
        }
        let chosen = options.only.is_empty()
            || options.only.iter().any(|part| change.id.contains(part.as_str()));
        // What survived may be found by what was added since.
        let same = |verdict: &Verdict| {
            verdict.first.is_some()
                || results::load(
                    &root,
                    &place(at).0,
                    Basis { copy: copy.fingerprint, mutant: place(at).1 },
                    false,
                )
                .is_some()
        };
        match known(at, copy.fingerprint).filter(same) {
            Some(verdict) => drop(verdicts.insert(at, verdict)),
            None if !chosen => {}
            None if change.body.is_some() => todo.push(at),
            None => alone.push(at),
        }
    }
    let scratch = judge::scratch(&copy::workshop(&root)).join("changes");
    fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
    if !todo.is_empty() {
        let began = Instant::now();
        let binaries = binaries::build(&root, &copy, Extent::Changes)?;
        println!("built in {} s", began.elapsed().as_secs());
        let bench = Bench { binaries, scratch: scratch.clone(), bounds: BOUNDS };
        bench.baseline(SEEDS).map_err(|what| format!("without any change: {what}"))?;
        println!("without a change all pass, {} s", began.elapsed().as_secs());
        let by_scripts = parallel::judge(&todo, options.jobs, |at| {
            let verdict = bench.judge_by_scripts(at + 1, &changes[at].file)?;
            if verdict.first.is_some() {
                keep(at, &verdict)?;
            }
            Ok((format!("{}: {}", changes[at].id, summary(&verdict)), verdict))
        })?;
        let left = |(at, verdict): &(usize, Verdict)| verdict.first.is_none().then_some(*at);
        let todo: Vec<usize> = by_scripts.iter().filter_map(left).collect();
        println!("{} are left, {} s", todo.len(), began.elapsed().as_secs());
        verdicts.extend(by_scripts);
        verdicts.extend(parallel::judge(&todo, options.jobs, |at| {
            let verdict = bench.judge_by_chance(at + 1)?;
            keep(at, &verdict)?;
            Ok((format!("{}: {}", changes[at].id, summary(&verdict)), verdict))
        })?);
    }
    for at in alone {
        let verdict = by_itself(&root, &sources, &changes[at], &scratch)?;
        keep(at, &verdict)?;
        println!("{}: {}", changes[at].id, summary(&verdict));
        verdicts.insert(at, verdict);
    }
    let judged: Vec<table::Judged> = changes
        .into_iter()
        .enumerate()
        .map(|(at, change)| (change, verdicts.remove(&at)))
        .collect();
    if options.survivors {
        for (change, verdict) in &judged {
            if table::fate(verdict.as_ref()) == table::Fate::Survived {
                println!("change: {}", change.id);
            }
        }
    }
    let path = root.join("docs/mutants-survivors.md");
    fs::write(&path, table::document(&judged, &reasons)).map_err(|error| error.to_string())?;
    Ok(table::failures(&judged, &reasons))
}

fn did_not_compile(what: &str) -> Verdict {
    let (check, name) = (table::UNVIABLE.to_owned(), what.to_owned());
    let first = Some(Kill { check, name, after: String::new() });
    Verdict { first, ..Verdict::default() }
}

/// A constant has no alternatives: a copy of its own for each change.
fn by_itself(
    root: &Path,
    sources: &source::Sources,
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
