//! What a pre-flight found.

use std::fmt;

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Fine.
    Passed,
    /// It works, and somebody should look at it.
    Warned,
    /// Broken.
    Failed,
    /// Not looked at because an earlier step is broken.
    Skipped,
}

#[derive(Debug, Clone)]
struct Line {
    step: String,
    outcome: Outcome,
    detail: String,
    fix: String,
}

/// Steps in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    fn add(&mut self, step: &str, outcome: Outcome, detail: impl fmt::Display, fix: impl fmt::Display) {
        self.lines.push(Line { step: step.to_owned(), outcome, detail: detail.to_string(), fix: fix.to_string() });
    }

    pub(super) fn pass(&mut self, step: &str, detail: impl fmt::Display) {
        self.add(step, Outcome::Passed, detail, "");
    }

    pub(super) fn warn(&mut self, step: &str, detail: impl fmt::Display, fix: impl fmt::Display) {
        self.add(step, Outcome::Warned, detail, fix);
    }

    pub(super) fn fail(&mut self, step: &str, detail: impl fmt::Display, fix: impl fmt::Display) {
        self.add(step, Outcome::Failed, detail, fix);
    }

    pub(super) fn skip(&mut self, step: &str, detail: impl fmt::Display) {
        self.add(step, Outcome::Skipped, detail, "");
    }

    /// How a step went, by its name.
    pub fn outcome(&self, step: &str) -> Option<Outcome> {
        self.lines.iter().find(|line| line.step == step).map(|line| line.outcome)
    }

    /// The first broken step: its name, what is wrong, and the fix.
    pub fn broken(&self) -> Option<(&str, &str, &str)> {
        let line = self.lines.iter().find(|line| line.outcome == Outcome::Failed)?;
        Some((&line.step, &line.detail, &line.fix))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let mark = match line.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Warned => "warn",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "-   ",
            };
            writeln!(f, "{mark}  {:<14}  {}", line.step, line.detail)?;
            if !line.fix.is_empty() {
                writeln!(f, "      {:<14}  → {}", "", line.fix)?;
            }
        }
        Ok(())
    }
}
