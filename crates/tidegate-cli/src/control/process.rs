//! What this process is and uses: its id, age, memory and processor time. It reads the system's own figures
//! and nothing of the hub's.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// This process.
pub(crate) struct Process {
    id: String,
    began: Instant,
    began_unix: Duration,
    last: Mutex<(Instant, Duration, f64)>,
}

impl Process {
    /// It begins now.
    pub(crate) fn new() -> Process {
        let mut random = [0u8; 8];
        // Without a random source the id is only less likely to be the only one.
        let _ = getrandom::fill(&mut random);
        let now = Instant::now();
        Process {
            id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            began: now,
            began_unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            last: Mutex::new((now, Duration::ZERO, 0.0)),
        }
    }

    /// Another one at each start.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// For how long it runs.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it began, since the Unix epoch.
    pub(crate) fn began(&self) -> Duration {
        self.began_unix
    }

    /// Resident memory in bytes; 0 where the system does not tell.
    pub(crate) fn memory(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1_024
    }

    /// Processor time used so far, by all threads; zero where the system does not tell.
    pub(crate) fn cpu_time(&self) -> Duration {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the name in parentheses and may hold anything.
        let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
        let ticks: u64 = after
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // Linux shows user space hundredths of a second, whatever its own clock ticks at.
        Duration::from_millis(ticks * 10)
    }

    /// Of one core, in percent, over the last half second or more.
    pub(crate) fn cpu_percent(&self) -> f64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, used) = (Instant::now(), self.cpu_time());
        let passed = now - last.0;
        if passed >= Duration::from_millis(500) {
            let percent = used.saturating_sub(last.1).as_secs_f64() / passed.as_secs_f64() * 100.0;
            *last = (now, used, percent);
        }
        last.2
    }

    /// Open files; 0 where the system does not tell.
    pub(crate) fn open_files(&self) -> u64 {
        // Since Linux 6.2 the folder says how many it holds. To list them costs more than a microsecond each, and once a
        // second that was about as much as all else that a silent connection costs.
        let told = std::fs::metadata(OPEN_FILES).map_or(0, |folder| folder.len());
        match told {
            0 => std::fs::read_dir(OPEN_FILES).map_or(0, |files| files.count() as u64),
            told => told,
        }
    }
}

const OPEN_FILES: &str = "/proc/self/fd";

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_what_we_use() {
        let process = Process::new();
        assert_eq!(process.id().len(), 16);
        assert!(process.memory() > 1 << 20);
        // Other tests open files, too; so many more do not come by chance.
        let few = process.open_files();
        let more: Vec<_> = (0..100)
            .map(|_| std::fs::File::open("/dev/null").expect("a file"))
            .collect();
        assert!(few > 2 && process.open_files() > few + 50, "{few}");
        drop(more);
        let before = process.cpu_time();
        let mut n = 0u64;
        while process.cpu_time() - before < Duration::from_millis(20) {
            n = std::hint::black_box(n.wrapping_mul(31) + 1);
        }
        assert!(process.cpu_time() > before);
    }
}
