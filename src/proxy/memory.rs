//! Sheds load before the memory runs out: the kernel would end the process, and every connection with it.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;

/// How often the memory is looked at. A client that fills it at 100 MB/s gets 10 MB further.
const PERIOD: Duration = Duration::from_millis(100);

/// Bytes of the limit for which one connection is always served: an allocator does not give everything back, so what the
/// process holds may stay high when nothing is left to shed.
const PER_CONNECTION: u64 = 1 << 20;

/// Whether a process that holds `resident` bytes should shed load.
fn sheds(resident: u64, limit: u64, connections: u64) -> bool {
    resident > limit / 10 * 9 && connections > limit / PER_CONNECTION
}

/// Watches the memory of the process while the proxy is there; there must be a limit.
pub(super) async fn watch(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let Some((limit, resident)) = shared.settings.memory_limit.zip(resident()) else { return };
        let connections = u64::try_from(shared.metrics.connections.all()).unwrap_or(0);
        let sheds = sheds(resident, limit, connections);
        if shared.shedding.swap(sheds, Ordering::Relaxed) != sheds {
            let (resident, limit) = (resident >> 20, limit >> 20);
            if sheds {
                tracing::warn!("shedding load: {resident} of {limit} MiB are used, by {connections} connections");
            } else {
                tracing::info!("not shedding load any more: {resident} of {limit} MiB are used");
            }
        }
    }
}

/// The memory that the process holds, in bytes. `None` where the kernel does not tell.
fn resident() -> Option<u64> {
    in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn in_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_shed_near_the_limit_and_never_all_of_it() {
        let (mib, limit) = (1 << 20, 512 << 20);
        assert!(!sheds(400 * mib, limit, 10_000));
        assert!(sheds(470 * mib, limit, 10_000));
        assert!(!sheds(600 * mib, limit, 512));
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert_eq!(in_status("Name:\tx\nVmRSS:\t    5120 kB\nRssAnon:\t 1 kB\n"), Some(5 << 20));
        assert_eq!(in_status("Name:\tx\n"), None);
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
