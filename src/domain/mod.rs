//! Pure rules: time windows, buckets, matching, masks. No I/O, no SQL, no GraphQL, no clock.

pub mod record;
