//! The table that is printed, line by line as the figures come.

use std::fmt::{self, Display};

/// A line of the table.
#[derive(Default)]
pub struct Line {
    name: String,
    tool: String,
    baseline: String,
    ratio: Option<f64>,
    cpu: Option<f64>,
    peak: Option<f64>,
    target: &'static str,
}

impl Line {
    /// A line about this.
    pub fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// The figures of the tool and of its baseline.
    pub fn figures(self, tool: String, baseline: String) -> Self {
        Self {
            tool,
            baseline,
            ..self
        }
    }

    /// A figure without a baseline.
    pub fn figure(self, tool: String) -> Self {
        Self { tool, ..self }
    }

    /// Tool to baseline.
    pub fn ratio(self, ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            ..self
        }
    }

    /// CPU time, tool to baseline.
    pub fn cpu(self, ratio: f64) -> Self {
        Self {
            cpu: Some(ratio),
            ..self
        }
    }

    /// Peak memory of the tool, in MiB.
    pub fn peak(self, mib: f64) -> Self {
        Self {
            peak: Some(mib),
            ..self
        }
    }

    /// What it should be.
    pub fn target(self, target: &'static str) -> Self {
        Self { target, ..self }
    }
}

/// What stands over the lines.
pub fn heading() -> String {
    row([
        "measured", "tool", "baseline", "ratio", "CPU", "peak MiB", "target",
    ])
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio =
            |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
        let peak = self.peak.map(|mib| format!("{mib:.1}")).unwrap_or_default();
        let (ratio, cpu) = (ratio(self.ratio), ratio(self.cpu));
        f.write_str(&row([
            &self.name,
            &self.tool,
            &self.baseline,
            &ratio,
            &cpu,
            &peak,
            self.target,
        ]))
    }
}

fn row(cells: [&str; 7]) -> String {
    let [name, tool, baseline, ratio, cpu, peak, target] = cells;
    format!("{name:<52} {tool:>24} {baseline:>12} {ratio:>7} {cpu:>7} {peak:>9}  {target}")
        .trim_end()
        .to_owned()
}
