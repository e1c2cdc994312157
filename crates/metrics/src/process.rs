//! The process itself, read at each scrape from what Linux says of it.

use std::{
    fs, io,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::families::{single, whole};

/// Clock ticks a second in `/proc`: a constant of Linux's interface, whatever the kernel's own.
const TICKS: f64 = 100.0;

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of the process.
pub(crate) struct Process {
    memory: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    cpu: Counter<f64, AtomicU64>,
}

impl Process {
    /// The start time is the moment of this call. On other systems than Linux it is all there is.
    pub(crate) fn new(registry: &mut Registry) -> Option<Self> {
        let process = registry.sub_registry_with_prefix("process");
        let start = single(process, "start_time_seconds", "Since the Unix epoch", Seconds::default());
        start.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        resident_memory()?;
        Some(Self {
            memory: single(process, "resident_memory_bytes", "Resident memory", Gauge::default()),
            open_files: single(process, "open_fds", "Open file descriptors", Gauge::default()),
            max_files: single(process, "max_fds", "How many may be open", Gauge::default()),
            cpu: single(process, "cpu_seconds", "Time in user and system mode", Counter::default()),
        })
    }

    /// Reads how it is now. What cannot be read stays as it was.
    pub(crate) fn read(&self) {
        if let Some(bytes) = resident_memory() {
            self.memory.set(whole(bytes));
        }
        if let Ok(open) = open_files() {
            self.open_files.set(open);
        }
        if let Some(most) = max_files() {
            self.max_files.set(most);
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Bytes of this process that are in memory, by `/proc/self/status`; `None` where the system
/// has no such file.
pub fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Without the one with which they are counted.
fn open_files() -> io::Result<i64> {
    Ok(fs::read_dir("/proc/self/fd")?.count() as i64 - 1)
}

fn max_files() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold spaces; user and system time are fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_found() {
        let used = resident_memory().unwrap();
        assert!((1 << 20..1 << 40).contains(&used), "{used}");
    }

    #[test]
    fn the_process_is_read_as_linux_has_it() {
        let mut registry = Registry::default();
        let process = Process::new(&mut registry).expect("Linux");
        process.read();
        let before = process.open_files.get();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").expect("a file")).collect();
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 60 {
            std::hint::black_box(fs::read_dir("/proc/self/fd").expect("a folder").count());
        }
        process.read();
        assert!(process.open_files.get() >= before + 40, "{} after {before}", process.open_files.get());
        drop(files);
        assert!(process.memory.get() > 1024 * 1024 && process.max_files.get() >= 64);
        let cpu = process.cpu.get();
        assert!((0.02..1000.0).contains(&cpu), "{cpu}");
    }
}
