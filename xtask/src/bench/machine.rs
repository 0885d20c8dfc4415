//! What the machine says about its processes: CPU time and memory, from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, Result};

/// Clock ticks a second, as Linux gives them to every program.
const TICKS: f64 = 100.0;

/// CPU seconds used so far, by whom.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// The server with all of its backends, ended ones included.
    pub(super) postgres: f64,
    /// registryd.
    pub(super) registryd: f64,
    /// This process and the commands it has waited for.
    pub(super) driver: f64,
    /// Everything that runs on the machine.
    pub(super) all: f64,
}

impl Cpu {
    /// Asks the machine.
    pub(super) fn now(postmaster: u32, registryd: u32) -> Result<Self> {
        let own = Stat::of(std::process::id())?;
        let postmaster_stat = Stat::of(postmaster)?;
        let backends =
            Stat::all().into_values().filter(|stat| stat.parent == postmaster).map(|stat| stat.own);
        Ok(Self {
            postgres: postmaster_stat.own + postmaster_stat.children + backends.sum::<f64>(),
            registryd: Stat::of(registryd)?.own,
            driver: own.own + own.children,
            all: busy()?,
        })
    }

    /// What was used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            postgres: self.postgres - earlier.postgres,
            registryd: self.registryd - earlier.registryd,
            driver: self.driver - earlier.driver,
            all: self.all - earlier.all,
        }
    }

    /// What none of ours used.
    pub(super) fn others(self) -> f64 {
        (self.all - self.postgres - self.registryd - self.driver).max(0.0)
    }
}

/// The resident memory of a process, in MB.
pub(super) fn resident(pid: u32) -> Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("no number")?;
    Ok(kilobytes / 1024.0)
}

struct Stat {
    parent: u32,
    own: f64,
    children: f64,
}

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let text =
            fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
        Self::parse(&text).context("/proc/…/stat has another form")
    }

    fn all() -> HashMap<u32, Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, Self::of(pid).ok()?))).collect()
    }

    /// The name may hold spaces and brackets, so the fields are counted from its end: state,
    /// parent, …
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks =
            |index: usize| fields.get(index)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
        let parent = fields.get(1)?.parse().ok()?;
        Some(Self { parent, own: ticks(11)? + ticks(12)?, children: ticks(13)? + ticks(14)? })
    }
}

/// CPU seconds that the machine was busy, stolen time included: user, nice, system, irq, softirq,
/// steal.
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
    fn a_process_is_read_whatever_its_name_is() {
        let text = "42 (a b) c) S 7 1 1 0 -1 4194560 1 2 3 4 150 50 300 100 20 0 1 0 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.own, stat.children), (7, 2.0, 4.0));
    }

    #[test]
    fn this_process_has_a_parent_and_memory() {
        assert!(Stat::of(std::process::id()).unwrap().parent > 0);
        assert!(resident(std::process::id()).unwrap() > 0.1);
        assert!(busy().unwrap() > 0.0);
    }
}
