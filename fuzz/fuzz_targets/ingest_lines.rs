//! A stream of rows: its lines are the same for every division into parts, and each is refused with a reason or
//! is a row.

#![no_main]

use callscope::ingest::lines::Lines;
use callscope::ingest::object::read_row;
use callscope::ingest::row::Row;
use callscope::domain::table::LogTable;
use callscope::store::zone::StorageZone;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

type Found = (u64, Option<Vec<u8>>, Option<Result<Row, String>>);

const LINE_BYTES: usize = 2000;

fn read(parts: &[&[u8]], table: LogTable) -> Vec<Found> {
    let zone = StorageZone("Asia/Shanghai".parse().expect("a zone"));
    let mut lines = Lines::new(LINE_BYTES);
    let mut found = Vec::new();
    let mut parts = parts.iter().copied();
    let mut part: &[u8] = &[];
    loop {
        let is_last = part.is_empty() && parts.len() == 0;
        let line = if is_last { lines.last() } else { lines.next(&mut part) };
        if let Some(line) = line {
            let row = line.text.map(|text| read_row(text, table, zone, DateTime::UNIX_EPOCH).1);
            found.push((line.number, line.text.map(<[u8]>::to_vec), row));
        } else if let Some(next) = parts.next() {
            part = next;
            continue;
        }
        if is_last {
            return found;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let table = if first % 2 == 0 { LogTable::Calls } else { LogTable::ErrorLogs };
    let parts: Vec<&[u8]> = data.chunks(usize::from(first / 2) + 1).collect();
    let found = read(&[data], table);
    assert_eq!(read(&parts, table), found);
    for (_, text, row) in found {
        assert!(text.is_none_or(|text| text.len() <= LINE_BYTES));
        if let Some(Err(reason)) = row {
            assert!(!reason.is_empty() && reason.chars().count() < 400, "{reason}");
        }
    }
});
