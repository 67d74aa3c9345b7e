//! Pickles: arbitrary bytes in a simple cache.
//!
//! 1. No bytes cause a panic, and no pickle becomes more than a million values, or more than 64 MiB of text and bytes.
//! 2. A value that was read, written and read again is the same.
//! 3. What is no pickle is always read, as an integer or as its bytes.

use crate::compat::simple::{RedisSerializer, Serializer, Value};

/// The data is what lies in Redis, with the mark of a pickle and without.
pub fn pickles(data: &[u8]) {
    let pickle = [b"!", data].concat();
    for stored in [data, &pickle] {
        let read = RedisSerializer.loads(Some(stored));
        assert!(read.is_some() || stored.starts_with(b"!"), "promise 3");
        let Some(value) = read else { continue };
        let (mut values, mut bytes) = (0, 0);
        measure(&value, &mut values, &mut bytes);
        assert!(values <= 1_000_000 && bytes <= 64 << 20, "promise 1");
        if let Ok(written) = RedisSerializer.dumps(&value) {
            assert_eq!(
                RedisSerializer.loads(Some(&written)),
                Some(value),
                "promise 2"
            );
        } else {
            // Only an integer that Python would not write is not written.
            assert!(matches!(value, Value::Int(_)), "promise 2");
        }
    }
}

fn measure(value: &Value, values: &mut usize, bytes: &mut usize) {
    *values += 1;
    match value {
        Value::Str(text) => *bytes += text.len(),
        Value::Bytes(data) => *bytes += data.len(),
        Value::List(items) | Value::Tuple(items) => {
            items.iter().for_each(|item| measure(item, values, bytes));
        }
        Value::Set(items) | Value::FrozenSet(items) => {
            items.iter().for_each(|item| measure(item, values, bytes));
        }
        Value::Dict(dict) => dict.iter().for_each(|(key, value)| {
            measure(key, values, bytes);
            measure(value, values, bytes);
        }),
        _ => {}
    }
}
