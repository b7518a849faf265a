//! The result: every round as it comes, then one line per figure.

use std::fmt;

use crate::server::Peer;

/// One measured value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// Time the server waited for its CPU, per CPU time it used: what else ran on this machine.
    pub(crate) waited: f64,
}

impl Figure {
    /// A value that other programs do not disturb.
    pub(crate) fn exact(value: f64) -> Self {
        Self { value, waited: 0.0 }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(self.value))?;
        if self.waited > 0.0 {
            write!(f, " (waited {:.0} %)", self.waited * 100.0)?;
        }
        Ok(())
    }
}

/// Figures by name, then round, then server.
#[derive(Debug)]
pub(crate) struct Table {
    peers: Vec<Peer>,
    rows: Vec<(String, Vec<Vec<Figure>>)>,
}

impl Table {
    pub(crate) fn new(peers: &[Peer]) -> Self {
        Self { peers: peers.to_owned(), rows: Vec::new() }
    }

    /// Prints and keeps one round of the row `name`: a figure for each server.
    pub(crate) fn round(&mut self, name: &str, figures: Vec<Figure>) {
        let each: Vec<String> =
            self.peers.iter().zip(&figures).map(|(peer, figure)| format!("{peer} {figure}")).collect();
        println!("{name}: {}", each.join(", "));
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rows.push((name.to_owned(), vec![figures])),
        }
    }
}

/// Median, and smallest to largest in brackets; the last column is the median of the rounds' ratios, not the ratio of the
/// medians: both servers of a round met the same noise.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:44}", "median (min–max)")?;
        for peer in &self.peers {
            write!(f, " {:>26}", peer.to_string())?;
        }
        // Portcullis is the last one.
        let others = || self.peers[..self.peers.len() - 1].iter().enumerate();
        for (_, other) in others() {
            write!(f, " {:>24}", format!("portcullis ÷ {other}"))?;
        }
        writeln!(f)?;
        for (name, rounds) in &self.rows {
            write!(f, "{name:44}")?;
            for peer in 0..self.peers.len() {
                write!(f, " {:>26}", spread(rounds.iter().map(|round| round[peer].value)))?;
            }
            for (index, _) in others() {
                let ratios = rounds.iter().filter_map(|round| Some(round.last()?.value / round[index].value));
                write!(f, " {:>24}", spread(ratios))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return String::new() };
    let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
    if values.len() == 1 {
        return short(median);
    }
    format!("{} ({}–{})", short(median), short(*least), short(*most))
}

/// Three digits, or all digits of large numbers.
fn short(value: f64) -> String {
    let digits = [100.0, 10.0].into_iter().filter(|limit| value.abs() < *limit).count();
    format!("{value:.digits$}")
}
