//! CPU time and memory of processes, read from `/proc` (proc(5)).

use std::fs;

use anyhow::{Context as _, Result};

/// Clock ticks a second in `/proc`: Linux reports the same unit on every machine.
const TICKS: f64 = 100.0;

/// CPU seconds used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// The database server with all of its backends, including those that ended.
    pub(super) postgres: f64,
    /// registryd.
    pub(super) registryd: f64,
    /// This process, and the commands that it has waited for.
    pub(super) driver: f64,
    /// All programs on the machine.
    pub(super) all: f64,
}

impl Cpu {
    /// Reads the current values. `postmaster` is the process of the database server, if there is
    /// one.
    pub(super) fn now(postmaster: Option<u32>, registryd: u32) -> Result<Self> {
        let own = Stat::of(std::process::id())?;
        Ok(Self {
            postgres: postmaster.map_or(Ok(0.0), Stat::with_backends)?,
            registryd: Stat::of(registryd)?.own,
            driver: own.own + own.children,
            all: busy()?,
        })
    }

    /// Returns the CPU seconds used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            postgres: self.postgres - earlier.postgres,
            registryd: self.registryd - earlier.registryd,
            driver: self.driver - earlier.driver,
            all: self.all - earlier.all,
        }
    }

    /// Returns the CPU seconds that other programs used.
    pub(super) fn others(self) -> f64 {
        (self.all - self.postgres - self.registryd - self.driver).max(0.0)
    }
}

/// Returns the resident memory of a process, in MB of 1,048,576 bytes.
pub(super) fn resident(pid: u32) -> Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("no number")?;
    Ok(kilobytes / 1024.0)
}

/// Returns the number of files and sockets that this process, and each that it starts, may open.
pub(super) fn open_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits").context("no /proc/self/limits")?;
    parse_open_files(&limits).context("/proc/self/limits has an unknown format")
}

/// Parses the soft limit, the first of the two.
fn parse_open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

struct Stat {
    parent: u32,
    own: f64,
    children: f64,
}

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let text =
            fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
        Self::parse(&text).context("/proc/…/stat has an unknown format")
    }

    /// Returns the CPU seconds of a database server with all of its backends.
    fn with_backends(postmaster: u32) -> Result<f64> {
        let server = Self::of(postmaster)?;
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let backends = pids.filter_map(|pid| Self::of(pid).ok());
        let backends = backends.filter(|stat| stat.parent == postmaster).map(|stat| stat.own);
        Ok(server.own + server.children + backends.sum::<f64>())
    }

    /// Parses the fields after the name of the process, which may contain spaces and brackets:
    /// state, parent, …
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks =
            |index: usize| fields.get(index)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
        let parent = fields.get(1)?.parse().ok()?;
        Some(Self { parent, own: ticks(11)? + ticks(12)?, children: ticks(13)? + ticks(14)? })
    }
}

/// Returns the CPU seconds that the machine was busy: user, nice, system, irq, softirq, and steal
/// (time that the hypervisor gave to other machines).
fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("no /proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|it| it.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&index| fields.get(index));
    Ok(busy.sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_may_contain_brackets() {
        let text = "42 (a b) c) S 7 1 1 0 -1 4194560 1 2 3 4 150 50 300 100 20 0 1 0 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.own, stat.children), (7, 2.0, 4.0));
    }

    #[test]
    fn soft_limit_of_open_files_is_read() {
        let limits = "Limit           Soft Limit  Hard Limit  Units\n\
                      Max open files  1024        524288      files\n";
        assert_eq!(parse_open_files(limits), Some(1024));
        assert!(open_files().unwrap() > 0);
    }

    #[test]
    fn own_process_is_measured() {
        assert!(Stat::of(std::process::id()).unwrap().parent > 0);
        assert!(resident(std::process::id()).unwrap() > 0.1);
        assert!(busy().unwrap() > 0.0);
    }
}
