//! The kind of the database server: clusters, standbys, partitioned tables, and what to set on them.

use std::time::Duration;

use tokio::time::timeout;

use super::Finding;
use crate::config::DatabaseConfig;
use crate::domain::table::LogTable;
use crate::error::Result;
use crate::store::engine::Engine;
use crate::store::inspect::{self, GaleraNode, Partitions, Replication, Shards};
use crate::store::partition::{convert, moved};
use crate::store::{Database, dialect::Dialect};

const SUBJECT: &str = "cluster";
/// The time limit of another server with months.
const ANSWER_TIME: Duration = Duration::from_secs(5);

pub(super) async fn check(db: &Database, config: &DatabaseConfig) -> Vec<Finding> {
    let checked = check_all(db, config).await;
    checked.unwrap_or_else(|error| vec![Finding::failed(SUBJECT, &error)])
}

async fn check_all(db: &Database, config: &DatabaseConfig) -> Result<Vec<Finding>> {
    let mut findings = match db.engine() {
        Engine::Galera => galera(&inspect::galera_node(db).await?),
        Engine::Citus => vec![citus(&inspect::shards(db).await?)],
        engine => of_engine(engine).into_iter().collect(),
    };
    if db.dialect() == Dialect::Postgres {
        findings.extend(replication(&inspect::replication(db).await?, config));
    }
    for table in LogTable::ALL {
        let partitions = inspect::partitions(db, table.name()).await?;
        findings.extend(partitions.map(|partitions| partitioned(db, table, &partitions)));
    }
    findings.extend(convert::abandoned(db).await?.iter().map(interrupted));
    findings.extend(convert::unconverted(db).await?.map(unconverted));
    if db.has_partitions() {
        findings.extend(moved_months(db).await?);
    }
    Ok(findings)
}

/// What is known without further statements.
fn of_engine(engine: Engine) -> Option<Finding> {
    let untested = |advice| {
        let found = format!("this is {}, with which Callscope was never tested", engine.name());
        Some(Finding::warning(SUBJECT, found, advice))
    };
    match engine {
        Engine::Plain | Engine::Galera | Engine::Citus => None,
        Engine::Spider => {
            let found = "the tables are stored by Spider: queries return wrong results, and batches may be \
                         stored in part";
            let advice = "the server refuses to start; use one server, Galera or PostgreSQL (docs/SCALING.md)";
            Some(Finding::error(SUBJECT, found, advice))
        }
        Engine::GroupReplication => untested(
            "use single-primary mode, connect to the primary, and compare `callscope rollup verify` with your \
             own counts",
        ),
        Engine::TiDb | Engine::Vitess => untested(
            "compare its answers with those of a single server before you rely on them (docs/SCALING.md)",
        ),
    }
}

fn citus(Shards { workers, undistributed, unmanaged }: &Shards) -> Finding {
    let found = format!("Citus: {workers} servers with shards");
    if !unmanaged.is_empty() {
        let found = format!("{found}; it does not manage {}", unmanaged.join(", "));
        let advice = "after a crash of the coordinator, a repetition may record calls twice: run `callscope migrate` \
                      as the owner of the tables, after SELECT citus_set_coordinator_host(…)";
        return Finding::error(SUBJECT, found, advice);
    }
    if undistributed.is_empty() {
        return Finding::ok(
            SUBJECT,
            format!("{found}, both tables are distributed by the API key"),
        );
    }
    let found =
        format!("{found}; {} is not distributed by the API key", undistributed.join(" and "));
    let advice = "all its rows are on the coordinator, or queries of one key read all shards: create a new database \
                  with `callscope migrate --citus`, and import this one into it";
    Finding::warning(SUBJECT, found, advice)
}

fn galera(node: &GaleraNode) -> Vec<Finding> {
    let GaleraNode { size, status, state, .. } = node;
    let found = format!("Galera: {size} nodes, this one is {state} ({status})");
    let mut findings = vec![match status.as_str() {
        "Primary" if *size >= 3 => Finding::ok(SUBJECT, found),
        "Primary" => Finding::warning(
            SUBJECT,
            found,
            "with fewer than three nodes, the failure of one stops the cluster: add a node or an arbitrator",
        ),
        _ => Finding::error(
            SUBJECT,
            found,
            "this node has no majority and rejects all statements: connect to another node",
        ),
    }];
    if node.autoinc_lock_mode != "2" {
        findings.push(Finding::error(
            SUBJECT,
            format!("innodb_autoinc_lock_mode = {}", node.autoinc_lock_mode),
            "set it to 2: other modes lead to conflicts on Galera",
        ));
    }
    if node.auto_increment_control == "OFF" && node.auto_increment_increment == "1" {
        findings.push(Finding::warning(
            SUBJECT,
            "wsrep_auto_increment_control = OFF, and ids grow by 1 on each node",
            "set it to ON: simultaneous inserts on two nodes get the same id, and one of them fails",
        ));
    }
    findings
}

fn replication(replication: &Replication, config: &DatabaseConfig) -> Vec<Finding> {
    let mut findings = vec![];
    if replication.is_standby {
        let lag = replication.lag_seconds.map_or_else(String::new, |seconds| {
            format!(", its last transaction is {seconds} seconds old")
        });
        let found = format!("this is a standby{lag}");
        findings.push(match config.read_only {
            true => Finding::ok(SUBJECT, found),
            false => Finding::error(
                SUBJECT,
                found,
                "a standby cannot be written: use --read-only, or connect to the primary",
            ),
        });
        if replication.may_cancel_queries {
            findings.push(Finding::warning(
                SUBJECT,
                "hot_standby_feedback = off: the standby cancels queries that need rows which the primary removes",
                "set hot_standby_feedback = on, or max_standby_streaming_delay above the longest query; otherwise \
                 such queries fail with DATABASE_UNAVAILABLE",
            ));
        }
    } else if replication.standbys > 0 && !replication.is_synchronous {
        findings.push(Finding::warning(
            SUBJECT,
            format!("{} standbys, none of them synchronous", replication.standbys),
            "a promotion may lose the last acknowledged calls: set synchronous_standby_names, unless they may be \
             lost",
        ));
    }
    findings
}

fn interrupted((table, end): &(LogTable, String)) -> Finding {
    let name = table.name();
    let found = format!(
        "{name} refuses rows without a time, and from {end} on all rows: a conversion to partitions was interrupted"
    );
    let advice = format!(
        "`callscope partition convert` continues; a running server that writes and has the role of the owner ends \
         this within a minute, as does ALTER TABLE {name} DROP CONSTRAINT callscope_before"
    );
    Finding::error(SUBJECT, found, advice)
}

fn unconverted(table: LogTable) -> Finding {
    let found = format!("{} is not converted, and no months are created", table.name());
    Finding::warning(SUBJECT, found, "repeat `callscope partition convert`")
}

fn partitioned(db: &Database, table: LogTable, partitions: &Partitions) -> Finding {
    let name = table.name();
    let Partitions { count, remote } = *partitions;
    let found = format!("{name} has {count} partitions, {remote} of them on other servers");
    if remote > 0 {
        let advice = "queries, the start and /readyz need these servers; a batch that is stored on two servers may \
                      be stored in part";
        return Finding::warning(SUBJECT, found, advice);
    }
    let found = format!("{name} has {count} partitions");
    match db.dialect() {
        Dialect::Postgres if !db.has_partitions() => {
            let advice = "each partition needs an index that starts with id. PostgreSQL builds indexes on all \
                          partitions while writers wait: run `callscope migrate` at a quiet hour";
            Finding::warning(SUBJECT, found, advice)
        }
        _ => Finding::ok(SUBJECT, found),
    }
}

/// The months of both tables on other servers.
async fn moved_months(db: &Database) -> Result<Vec<Finding>> {
    let mut findings = vec![];
    for archive in moved::archives(db).await? {
        let found = format!("server {} has {}", archive.server, archive.months.join(", "));
        let answered = timeout(ANSWER_TIME, moved::answers(db, &archive)).await;
        findings.push(match answered.unwrap_or(false) {
            true => Finding::ok(SUBJECT, found),
            false => Finding::warning(
                SUBJECT,
                format!("{found}, and does not answer"),
                "lists of these months fail with DATABASE_UNAVAILABLE until it answers; all else goes on",
            ),
        });
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn tables_of_citus_need_shards() {
        let level = |undistributed, unmanaged| {
            citus(&Shards { workers: 2, undistributed, unmanaged }).level
        };
        assert_eq!(level(vec![], vec![]), Level::Ok);
        assert_eq!(level(vec!["t_error_logs"], vec![]), Level::Warning);
        assert_eq!(level(vec![], vec!["callscope_idempotency"]), Level::Error);
    }

    #[test]
    fn engines_are_refused_or_untested() {
        let level = |engine| of_engine(engine).map(|finding| finding.level);
        assert_eq!(level(Engine::Plain), None);
        assert_eq!(level(Engine::Spider), Some(Level::Error));
        for engine in [Engine::TiDb, Engine::Vitess, Engine::GroupReplication] {
            let finding = of_engine(engine).unwrap();
            assert_eq!(finding.level, Level::Warning);
            assert!(finding.found.contains(engine.name()), "{finding}");
        }
    }

    #[test]
    fn a_node_of_galera_has_a_majority_and_other_ids_than_the_others() {
        let node = GaleraNode {
            size: 3,
            status: "Primary".to_owned(),
            state: "Synced".to_owned(),
            autoinc_lock_mode: "2".to_owned(),
            auto_increment_control: "ON".to_owned(),
            auto_increment_increment: "3".to_owned(),
        };
        let worst = |node: &GaleraNode| galera(node).iter().map(|finding| finding.level).max();
        assert_eq!(worst(&node), Some(Level::Ok));
        assert_eq!(worst(&GaleraNode { size: 2, ..node.clone() }), Some(Level::Warning));
        let minority = GaleraNode { status: "non-Primary".to_owned(), ..node.clone() };
        assert_eq!(worst(&minority), Some(Level::Error));
        let locks = GaleraNode { autoinc_lock_mode: "1".to_owned(), ..node.clone() };
        assert_eq!(worst(&locks), Some(Level::Error));
        let ids = GaleraNode {
            auto_increment_control: "OFF".to_owned(),
            auto_increment_increment: "1".to_owned(),
            ..node
        };
        assert_eq!(worst(&ids), Some(Level::Warning));
    }
}
