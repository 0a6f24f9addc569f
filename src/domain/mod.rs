//! Pure rules: time windows, buckets, matching, masks, scopes. No I/O, SQL, GraphQL or clock.

pub mod access;
pub mod bucket;
pub mod counts;
pub mod diagnosis;
pub mod duration;
pub mod excerpt;
pub mod failure;
pub mod id_range;
pub mod json;
pub mod key_id;
pub mod mask;
pub mod matching;
pub mod month;
pub mod quota;
pub mod record;
pub mod rollup;
pub mod table;
pub mod window;
