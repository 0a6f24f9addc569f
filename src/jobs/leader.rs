//! The lease of a job that one server of a database runs. Two servers that both believe to hold it do the same
//! work twice, and nothing wrong.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::ClockWatch;
use crate::error::Result;
use crate::store::{Database, lease};

/// A crashed server stops the job of the others for at most this long.
const LEASE_TIME: TimeDelta = TimeDelta::minutes(2);
/// The lease is renewed when it ends within this time.
const LEASE_RENEWAL: TimeDelta = TimeDelta::minutes(1);

pub struct Leader {
    db: Arc<Database>,
    clock: Arc<ClockWatch>,
    /// The name of the lease.
    name: String,
    /// Identifies this server as its holder.
    holder: String,
    held_until: DateTime<Utc>,
}

impl Leader {
    pub fn new(db: &Arc<Database>, clock: &Arc<ClockWatch>, name: impl Into<String>) -> Self {
        Self {
            db: db.clone(),
            clock: clock.clone(),
            name: name.into(),
            holder: format!("{:016x}", rand::random::<u64>()),
            held_until: DateTime::UNIX_EPOCH,
        }
    }

    /// Whether this server has the lease, which it takes if it is free.
    pub async fn leads(&mut self) -> Result<bool> {
        let now = self.clock.time().now;
        if now + LEASE_RENEWAL < self.held_until && self.held_until <= now + LEASE_TIME {
            return Ok(true);
        }
        let until = now + LEASE_TIME;
        let is_held = lease::acquire(&self.db, &self.name, &self.holder, (now, until)).await?;
        self.held_until = if is_held { until } else { DateTime::UNIX_EPOCH };
        Ok(is_held)
    }
}
