//! Whether the memory of a process stays what it is.

/// What may be more at the end than before, in bytes, beside a fifth: what the allocator keeps varies.
const SLACK: u64 = 4 << 20;

/// Resident memory over time, in bytes.
#[derive(Default)]
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    pub(crate) fn add(&mut self, sample: u64) {
        self.0.push(sample);
    }

    /// What is usual in the second and in the last third. The first is for warming up.
    pub(crate) fn thirds(&self) -> (u64, u64) {
        let third = self.0.len() / 3;
        (median(&self.0[third..2 * third]), median(&self.0[2 * third..]))
    }

    pub(crate) fn is_flat(&self) -> bool {
        let (before, after) = self.thirds();
        after <= before + before / 5 + SLACK
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[test]
fn a_leak_is_seen() {
    let of = |samples: std::ops::Range<u64>, each: u64| Memory(samples.map(|at| (50 << 20) + at * each).collect());
    assert!(of(0..60, 10 << 10).is_flat());
    assert!(!of(0..60, 2 << 20).is_flat());
}
