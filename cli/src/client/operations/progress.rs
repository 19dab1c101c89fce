//! Progress of operations: bars on a terminal, plain lines everywhere else, nothing for programs.

use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::output::write_line;
use super::follow::Told;
use super::model::{Operation, plain};
use crate::args::OutputFormat;

/// Most bars at once: a screen. Clusters beyond it show when they end.
const BARS_MAX: usize = 24;
/// Width of a bar.
const BAR: &str = "{prefix:24!} [{bar:24}] {pos:>4}/{len:<4} {msg}";
/// Before the objects are counted.
const COUNTING: &str = "{prefix:24!} {msg}";

/// How it is shown.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// Bars, drawn on standard error.
    Bars(MultiProgress),
    /// Lines on standard output.
    Lines,
    /// Nothing: what is printed at the end is for programs.
    Silent,
}

impl Progress {
    /// As the terminal and the format ask for.
    pub(super) fn new(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Table if std::io::stderr().is_terminal() => Self::Bars(MultiProgress::new()),
            OutputFormat::Table => Self::Lines,
            OutputFormat::Json | OutputFormat::Yaml => Self::Silent,
        }
    }

    /// A line beside the bars.
    pub(super) fn say(&self, line: &str) {
        let line = plain(line);
        match self {
            Self::Bars(bars) => {
                let _ = bars.println(line);
            }
            // What cannot be written is no reason to stop looking.
            Self::Lines => drop(write_line(&line)),
            Self::Silent => {}
        }
    }

    /// The part of one operation. `alone`: there is no other, so each object gets a line.
    pub(super) fn one(&self, cluster: &str, number: usize, alone: bool) -> One {
        let bar = match self {
            Self::Bars(bars) if number < BARS_MAX => {
                let bar = bars.add(ProgressBar::new(0).with_prefix(cluster.to_owned()));
                set_style(&bar, COUNTING);
                Some(bar)
            }
            _ => None,
        };
        One { progress: self.clone(), cluster: cluster.to_owned(), bar, alone, counted: false }
    }
}

/// A template that is wrong leaves the bar as it was.
fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

/// One operation's progress.
#[derive(Debug)]
pub(super) struct One {
    progress: Progress,
    cluster: String,
    bar: Option<ProgressBar>,
    alone: bool,
    counted: bool,
}

impl One {
    /// Shows what the hub told.
    pub(super) fn told(&mut self, told: &Told) {
        match told {
            Told::Step { step } => {
                let Some(line) = step.line() else { return };
                if let Some(bar) = &self.bar {
                    bar.set_message(plain(&line).replace('\n', " "));
                }
                let failed = step.error.is_some();
                let lines = matches!(self.progress, Progress::Lines);
                let worth = step.kind == "object" || step.kind == "output" || lines;
                if failed || lines || (self.alone && worth) {
                    let cluster = &self.cluster;
                    self.progress.say(&if self.alone { line } else { format!("{cluster}: {line}") });
                }
                if let Some(diff) = step.diff.as_ref().filter(|_| self.alone) {
                    self.progress.say(diff);
                }
            }
            Told::Operation { operation } => self.count(operation),
            Told::End { operation } => {
                self.count(operation);
                if let Some(bar) = self.bar.take() {
                    bar.finish_with_message(plain(&operation.state.replace('_', " ")));
                }
                self.progress.say(&operation.summary());
            }
        }
    }

    fn count(&mut self, operation: &Operation) {
        let Some(bar) = &self.bar else { return };
        if operation.objects > 0 && !self.counted {
            self.counted = true;
            set_style(bar, BAR);
        }
        bar.set_length(u64::from(operation.objects));
        bar.set_position(u64::from(operation.counts.done()));
    }

    /// It was not followed to its end.
    pub(super) fn lost(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon_with_message("lost");
        }
    }
}
