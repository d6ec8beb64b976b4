//! Where the log goes: standard error, as text for people or as JSON lines for machines.
//!
//! Rule: one event is one line. Must never: write to standard output, or colour what is not read
//! on a terminal.

use kvorum_runtime::config::Log;
use std::io::{self, IsTerminal};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts logging. Called once, before anything is logged.
pub fn start(log: &Log) {
    let terminal = io::stderr().is_terminal();
    let text = match log.format {
        "text" => true,
        "json" => false,
        _ => terminal,
    };
    let level = level(log.level);
    // The crates beneath us have their say only when something is wrong, except at `trace`.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let filter = Targets::new().with_default(others).with_target("kvorum", level);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if text {
        // NO_COLOR (https://no-color.org) is honoured by the formatter itself.
        Box::new(fmt::layer().with_writer(io::stderr).with_ansi(terminal).with_target(false))
    } else {
        Box::new(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(io::stderr),
        )
    };
    // A second start would mean a second subscriber; there is none in this binary.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

fn level(name: &str) -> LevelFilter {
    match name {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    }
}
