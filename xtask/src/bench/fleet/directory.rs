//! Response times of the directory: the queries of operators over all tenants.

use std::time::Duration;

use anyhow::Result;
use throwaway_postgres::Cluster;

use crate::bench::driver::{self, request};
use crate::bench::report::format_time;
use crate::bench::seed;
use crate::bench::service::Service;

/// Number of measurements of each query.
const RUNS: usize = 5;

/// Number of requests of one measurement.
const REQUESTS: usize = 400;

/// Median response time of each query, with the name of the query.
pub(super) type Times = Vec<(&'static str, Duration)>;

/// Returns the median response time of each query, over one connection.
pub(super) fn measure(cluster: &Cluster, database: &str, service: &Service) -> Result<Times> {
    seed::settle(cluster, database)?;
    // A line each: the id, the cursor, and the number in the company's name.
    let sample = format!(
        "SELECT id || ' ' || (extract(epoch FROM registered_at) * 1000000)::bigint || '.' || \
         replace(id::text, '-', '') || ' ' || split_part(company_name, ' ', 2) \
         FROM tenants WHERE status = 'installed' ORDER BY md5(id::text) LIMIT {REQUESTS}"
    );
    let sample = cluster.sql(database, &sample)?;
    let column = |index: usize| sample.lines().filter_map(move |line| line.split(' ').nth(index));
    let tenants = column(0).map(|id| format!("/tenants/{id}"));
    let pages = column(1).map(|cursor| format!("/tenants?limit=50&cursor={cursor}"));
    let few = column(2).map(|n| format!("/tenants?query=pany%20{n}"));
    let many = (0..97).map(|n| format!("/tenants?query=%40mail{n}."));
    let mut rows = vec![
        ("GET /tenants/{id}", median(service, tenants)?),
        ("a page of 50, anywhere in the list", median(service, pages)?),
        ("search by part, few hits", median(service, few)?),
        ("search by part, many hits", median(service, many)?),
    ];
    cluster.sql(database, "DROP INDEX tenants_by_part")?;
    let beginnings = column(2).map(|n| format!("/tenants?query=company%20{n}"));
    rows.push(("search by beginning, without pg_trgm", median(service, beginnings)?));
    Ok(rows)
}

/// Returns the median response time of these paths: the median of several runs.
fn median(service: &Service, paths: impl Iterator<Item = String>) -> Result<Duration> {
    let get = |path: String| request("GET", &path, Some(service.token()), "");
    let requests: Vec<_> = paths.map(get).collect();
    // The first run loads the data into memory, for both fleets.
    driver::send(service.address(), &requests, 1, false)?;
    let runs = (0..RUNS).map(|_| driver::send(service.address(), &requests, 1, false));
    let mut medians = runs.map(|run| Ok(run?.quantile(0.5))).collect::<Result<Vec<_>>>()?;
    medians.sort();
    Ok(medians[RUNS / 2])
}

/// Prints the times of the fleets side by side.
pub(super) fn print(fleets: &[(u64, Times)]) {
    println!("\nThe directory, one request after the other (p50):");
    let headings =
        fleets.iter().map(|(tenants, _)| format!("{tenants:>12}")).collect::<Vec<_>>().concat();
    println!("{:40}{headings}{:>8}", "tenants", "ratio");
    let Some((_, first)) = fleets.first() else { return };
    for (index, (name, base)) in first.iter().enumerate() {
        let times: Vec<Duration> =
            fleets.iter().filter_map(|(_, rows)| Some(rows.get(index)?.1)).collect();
        let cells = times
            .iter()
            .map(|time| format!("{:>12}", format_time(time.as_secs_f64())))
            .collect::<Vec<_>>()
            .concat();
        let last = times.last().copied().unwrap_or_default();
        println!("{name:40}{cells}{:>8.2}", last.as_secs_f64() / base.as_secs_f64());
    }
}
