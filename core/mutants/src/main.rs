//! `make mutants`: judges every planted bug and writes `docs/mutants.md`. See README.md.

use kvorum_mutants::{
    binaries::{self, Extent},
    copy, ended,
    judge::{self, Bench, Bounds, Kill, Verdict},
    mutant::{self, Mutant, Plant},
    parallel,
    results::{self, Basis},
    root, rows, source, table, weave,
};
use std::{collections::BTreeMap, fs, path::Path, process::ExitCode, time::Instant};

/// Seeds of the lab that the unchanged core passes first.
const BASELINE_SEEDS: u64 = 300;

const USAGE: &str = "\
kvorum-mutants [--list] [--check] [--only <part of an id>]... [--jobs <n>] [--keep] [--again]
  --list   only the ids and what they plant
  --check  only whether every mutant still fits the sources, and the table the mutants
  --only   only the ids that contain this; the table is written all the same
  --jobs   so many at a time (2)
  --seeds  at most so many seeds of the lab each; what is not found by then stays open
  --few    only scripts, unit tests and the lab
  --model  the model as well, which takes minutes for whatever nothing else finds
  --keep   take earlier verdicts although sources or tests have changed
  --again  judge anew whatever was judged before";

struct Options {
    list: bool,
    check: bool,
    only: Vec<String>,
    jobs: usize,
    seeds: Option<u64>,
    extent: Extent,
    keep: bool,
    again: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        list: false,
        check: false,
        only: Vec::new(),
        jobs: 2,
        seeds: None,
        extent: Extent::All,
        keep: false,
        again: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--list" => options.list = true,
            "--check" => options.check = true,
            "--only" => options.only.push(value()?),
            "--jobs" => options.jobs = value()?.parse().map_err(|_| "--jobs needs a number")?,
            "--seeds" => {
                options.seeds = Some(value()?.parse().map_err(|_| "--seeds needs a number")?);
            }
            "--few" => options.extent = Extent::Few,
            "--model" => options.extent = Extent::Model,
            "--keep" => options.keep = true,
            "--again" => options.again = true,
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
    let (mutants, rows) = (mutant::all(&root)?, rows::all(&root)?);
    let misfits = rows::misfits(&rows, &mutants);
    let layers = weave::layers(&source::read(&root)?, &mutants)?;
    if options.list {
        for mutant in &mutants {
            println!("{}: {}", mutant.id, mutant.bug);
        }
        return Ok(Vec::new());
    }
    println!("{} mutants in {} layers, {} rows", mutants.len(), layers.len(), rows.len());
    if options.check || !misfits.is_empty() {
        return Ok(misfits);
    }
    let chosen = |mutant: &Mutant| {
        options.only.is_empty() || options.only.iter().any(|part| mutant.id.contains(part))
    };
    let priority = |mutant: &Mutant| {
        rows.iter().find(|row| row.id == mutant.row).map_or('A', |row| row.priority)
    };
    let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        let began = Instant::now();
        let copy =
            copy::make(&root, &format!("layer{number}"), layer, weave::SWITCH, options.extent)?;
        let basis =
            |at: usize| Basis { copy: copy.fingerprint, mutant: results::text_of(&mutants[at]) };
        let mut todo = Vec::new();
        for &at in &layer.mutants {
            let id = &mutants[at].id;
            let forget = options.again && chosen(&mutants[at]);
            let known = results::load(&root, id, basis(at), options.keep);
            let done = |verdict: &Verdict| {
                verdict.first.is_some()
                    || verdict.seeds >= judge::seeds_for(&mutants[at], priority(&mutants[at]))
            };
            match known.filter(|verdict| !forget && done(verdict)) {
                Some(verdict) => drop(verdicts.insert(at, verdict)),
                None if chosen(&mutants[at]) => todo.push(at),
                None => {}
            }
        }
        let adapters = number == 0 && mutants.iter().any(|mutant| mutant.edits().is_empty());
        if todo.is_empty() && !adapters {
            continue;
        }
        let scratch = judge::scratch(&copy::workshop(&root));
        fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let binaries = binaries::build(&root, &copy, options.extent)?;
        let bench = Bench { binaries, scratch, bounds: Bounds::PLANTED };
        println!("layer {number}: built in {} s", began.elapsed().as_secs());
        if adapters {
            let found = bench.adapters()?;
            for (at, mutant) in mutants.iter().enumerate() {
                if let Plant::Adapter(name) = &mutant.plant {
                    verdicts.insert(at, boundary(name, &found));
                }
            }
        }
        if !todo.is_empty() {
            let began = Instant::now();
            let seeds =
                if todo.len() > 10 && options.seeds.is_none() { BASELINE_SEEDS } else { 20 };
            bench.baseline(seeds).map_err(|what| format!("without any bug: {what}"))?;
            println!("layer {number}: without a bug all pass, {} s", began.elapsed().as_secs());
        }
        let judged = parallel::judge(&todo, options.jobs, |at| {
            let mutant = &mutants[at];
            let budget = judge::seeds_for(mutant, priority(mutant));
            let budget = options.seeds.map_or(budget, |most| most.min(budget));
            let verdict = bench.judge(mutant, at + 1, budget)?;
            results::store(&root, &mutant.id, basis(at), &verdict)?;
            Ok((format!("{}: {}", mutant.id, summary(&verdict)), verdict))
        })?;
        verdicts.extend(judged);
    }
    finish(&root, &rows, mutants, &verdicts)
}

/// The first finding of a bug in the lab's adapters.
fn boundary(name: &str, found: &[(String, u64, String)]) -> Verdict {
    let first = found.iter().find(|(bug, ..)| bug == name);
    let kill = first.map(|(_, seed, rule)| Kill {
        check: "lab".to_owned(),
        name: rule.clone(),
        after: if *seed == 0 { "1 seed".to_owned() } else { format!("{} seeds", seed + 1) },
    });
    Verdict { first: kill.clone(), lab: kill, seeds: 60, seconds: 0.0 }
}

fn summary(verdict: &Verdict) -> String {
    let show = |kill: &Kill| format!("{}: {} ({})", kill.check, kill.name, kill.after);
    let first = verdict.first.as_ref().map_or_else(|| "SURVIVED".to_owned(), show);
    let lab = match &verdict.lab {
        Some(lab) if verdict.first.as_ref() != Some(lab) => format!("; {}", show(lab)),
        Some(_) => String::new(),
        None => format!("; lab not in {} seeds", verdict.seeds),
    };
    format!("{first}{lab}, {:.1} s", verdict.seconds)
}

fn finish(
    root: &Path,
    rows: &[rows::Row],
    mutants: Vec<Mutant>,
    verdicts: &BTreeMap<usize, Verdict>,
) -> Result<Vec<String>, String> {
    let judged: Vec<(Mutant, Option<Verdict>)> = mutants
        .into_iter()
        .enumerate()
        .map(|(at, mutant)| (mutant, verdicts.get(&at).cloned()))
        .collect();
    let path = root.join("docs/mutants.md");
    fs::write(&path, table::document(rows, &judged)).map_err(|error| error.to_string())?;
    Ok(table::failures(rows, &judged))
}
