//! How much memory the process may use.

use std::fs;

/// Where the kernel says how much memory a container may use: version 2 of its control groups, then version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Version 1 says this much and more where there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// The limit in bytes: what was `asked` for (0 for none), else the container's.
pub(super) fn limit(asked: Option<u64>) -> Option<u64> {
    match asked {
        Some(0) => None,
        Some(bytes) => Some(bytes),
        None => LIMITS.iter().find_map(|path| fs::read_to_string(path).ok()).and_then(|text| of_group(&text)),
    }
}

fn of_group(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_says_its_limit_or_none() {
        assert_eq!(of_group("536870912\n"), Some(512 << 20));
        assert_eq!(of_group("max\n"), None);
        assert_eq!(of_group("9223372036854771712\n"), None);
        assert_eq!((limit(Some(0)), limit(Some(7))), (None, Some(7)));
    }
}
