//! Plans of the statements that run all the time, however much there is in the tables.

use diesel::prelude::*;
use diesel::sql_types::Text;
use registry_core::clock::Timestamp;
use registry_store_sql::script::LeaseMail;
use registry_store_sql::statement::Dialect;
use registry_store_sqlite::SqliteStore;

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// A lease finds a due mail by the index of due mails, among however many that wait for later.
#[test]
fn lease_of_a_mail_uses_the_index_by_due_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    drop(SqliteStore::open(&path).unwrap());
    let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    for text in (LeaseMail { now, until: now }).texts(Dialect::Sqlite) {
        let explain = format!("EXPLAIN QUERY PLAN {}", text.replace('?', "0"));
        let plan: Vec<Step> = diesel::sql_query(explain).load(&mut database).unwrap();
        let reads: Vec<_> = plan.iter().filter(|step| step.detail.contains("mails")).collect();
        assert!(!reads.is_empty(), "{text}");
        for step in reads {
            let is_one_row = step.detail.contains("USING INDEX sqlite_autoindex_mails_1 (id=?)");
            let is_by_time = step.detail.contains("mails_due (due_at")
                || step.detail.contains("mails_due_by_priority (priority=? AND due_at");
            assert!(is_one_row || is_by_time, "{}: {text}", step.detail);
        }
    }
}
