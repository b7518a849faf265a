//! The limit of open files, of which every connection takes one and every request under way another.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are none of the connections: listeners, the API server, logs, watches, the admin address.
const RESERVE: u64 = 256;

/// Connections per listener where files are plenty.
const CONNECTIONS: usize = 16_384;

/// Fewer make no sense, whatever the limit.
const AT_LEAST: usize = 64;

/// Raises the soft limit to the hard one (1,024 is a common soft limit, and would be reached by one client) and returns how
/// many connections each of `listeners` may hold.
pub(super) fn connections(listeners: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    let Some(files) = limit else { return CONNECTIONS };
    shares(files, listeners)
}

/// An upstream connection comes with each downstream one, so that a connection counts twice.
fn shares(files: u64, listeners: usize) -> usize {
    let share = files.saturating_sub(RESERVE) / 2;
    let each = usize::try_from(share).unwrap_or(usize::MAX) / listeners.max(1);
    each.clamp(AT_LEAST, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(shares(1 << 20, 2), CONNECTIONS);
        assert_eq!(shares(20_000, 2), 4_936);
        assert_eq!(shares(100, 2), AT_LEAST);
    }
}
