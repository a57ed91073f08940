//! What processes use of the machine, as Linux tells in /proc: CPU time, memory, and who listens on a port. Elsewhere it
//! knows nothing, and says so with `None`.

use std::fs;

/// CPU time used so far, in two spellings.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Cpu {
    /// The scheduler's count, exact to the nanosecond, of the threads that live.
    scheduled: u64,
    /// The process's count, in hundredths of a second, of all threads that ever lived; in nanoseconds.
    ticks: u64,
}

impl Cpu {
    /// Of these processes together.
    pub(crate) fn of(pids: &[u32]) -> Option<Cpu> {
        let mut sum = Cpu::default();
        for pid in pids {
            sum.scheduled += scheduled(*pid)?;
            sum.ticks += ticks(*pid)?;
        }
        (!pids.is_empty()).then_some(sum)
    }

    /// Nanoseconds since `earlier`. The exact count, unless threads ended meanwhile and took theirs along.
    pub(crate) fn since(self, earlier: Cpu) -> u64 {
        let exact = self.scheduled.saturating_sub(earlier.scheduled);
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        match ticks > exact + 3 * TICK {
            true => ticks,
            false => exact,
        }
    }
}

/// A hundredth of a second: what /proc/PID/stat counts in, on every Linux.
const TICK: u64 = 10_000_000;

fn scheduled(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path().join("schedstat");
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        sum += text.split(' ').next()?.trim().parse::<u64>().ok()?;
    }
    Some(sum)
}

fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK)
}

/// Resident memory of these processes, in bytes.
pub(crate) fn memory(pids: &[u32]) -> Option<u64> {
    let mut sum = 0;
    for pid in pids {
        let found = field(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
            .or_else(|| field(&format!("/proc/{pid}/status"), "VmRSS:"))?;
        sum += found * 1_024;
    }
    (!pids.is_empty()).then_some(sum)
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// CPU time that all of the machine used so far, in nanoseconds, waiting not counted.
pub(crate) fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|at| fields.get(*at))
        .sum();
    Some(busy * TICK)
}

/// The processes that listen on this TCP port, as far as they may be looked at.
pub(crate) fn listeners(port: u16) -> Vec<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = processes
        .flatten()
        .filter_map(|p| p.file_name().to_str()?.parse().ok());
    pids.filter(|pid| holds(*pid, &sockets)).collect()
}

/// The inodes of the sockets in a kernel table that listen on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    let listens = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, at) = fields.nth(1)?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let right = u16::from_str_radix(at, 16).ok()? == port && state == "0A";
        right.then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(listens).collect()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut links = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| {
        link.to_str()
            .is_some_and(|l| sockets.iter().any(|s| s == l))
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn we_are_found_by_our_port_and_use_memory_and_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = std::process::id();
        assert!(listeners(port).contains(&me));
        assert!(memory(&[me]).unwrap() > 1 << 20);
        let before = Cpu::of(&[me]).unwrap();
        let mut n = 0u64;
        while Cpu::of(&[me]).unwrap().since(before) < 30_000_000 {
            n = std::hint::black_box(n.wrapping_mul(31) + 1);
        }
        assert!(machine().unwrap() > 0);
    }

    #[test]
    fn nobody_is_found_where_nobody_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            1: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        assert_eq!(listening(table, 8_000), ["4711"]);
        assert_eq!(listening(table, 8_001), [""; 0]);
        assert!(Cpu::of(&[]).is_none() && memory(&[]).is_none());
        assert!(Cpu::of(&[u32::MAX]).is_none());
    }
}
