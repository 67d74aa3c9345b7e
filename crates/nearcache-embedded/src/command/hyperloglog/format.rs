//! The format of a HyperLogLog: byte for byte that of Redis, so that a server can read what is stored here.
//!
//! An element's hash chooses one of 16,384 registers, and the register keeps the longest run of zeros that any of its
//! hashes had. From the registers, the number of different elements is estimated.
//!
//! The string begins with 16 bytes: `HYLL`, the encoding, three unused bytes, and the cached estimate as a 64-bit
//! number, lowest byte first; if its highest bit is set, it is out of date. Then come the registers:
//!
//! - *dense*: 6 bits for each, lowest bits first.
//! - *sparse*: runs of equal registers. `00nnnnnn` is n + 1 zeros; `01nnnnnn nnnnnnnn` the same with more of them;
//!   `1vvvvvnn` is n + 1 registers of the value v + 1.
//!
//! A sparse one becomes dense when a value does not fit, or when it would get longer than `hll-sparse-max-bytes`.
//! Strings come from clients as well, so any byte may be wrong: [`Corrupted`].

/// How many registers there are.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
/// How many bits of a hash are left for the run of zeros.
const RUN_BITS: u32 = 64 - INDEX_BITS;
pub(super) const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The byte and the bit that say that the cached estimate is out of date.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
/// The greatest value and the longest run of one sparse byte.
const MOST_VALUE: u8 = 32;
const LONGEST_VALUES: usize = 4;
const LONGEST_ZEROS: usize = 64;

/// The string is not a HyperLogLog that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupted;

/// An empty one: all registers are zeros.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = SPARSE;
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Whether the header, and the length of a dense one, are right.
pub(super) fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && match bytes[ENCODING_AT] {
            DENSE => bytes.len() == DENSE_LEN,
            encoding => encoding == SPARSE,
        }
}

pub(super) fn is_sparse(bytes: &[u8]) -> bool {
    bytes.get(ENCODING_AT) == Some(&SPARSE)
}

/// The cached estimate, if it is up to date.
pub(super) fn cached(bytes: &[u8]) -> Option<u64> {
    let card = bytes.get(8..HEADER)?;
    if bytes[STALE_AT] & STALE != 0 {
        return None;
    }
    card.try_into().ok().map(u64::from_le_bytes)
}

pub(super) fn cache(bytes: &mut [u8], estimate: u64) {
    if let Some(card) = bytes.get_mut(8..HEADER) {
        card.copy_from_slice(&estimate.to_le_bytes());
    }
}

/// Makes the cached estimate out of date.
pub(super) fn outdate(bytes: &mut [u8]) {
    if let Some(byte) = bytes.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

/// Adds an element. Returns whether a register changed.
pub(super) fn add(bytes: &mut Vec<u8>, element: &[u8], most: usize) -> Result<bool, Corrupted> {
    let (index, run) = place(element);
    raise(bytes, index, run, most)
}

/// The register of an element, and its run of zeros with the one that ends it.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let index = hash as usize & (REGISTERS - 1);
    let rest = hash >> INDEX_BITS | 1 << RUN_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// `MurmurHash64A`, with the seed of Redis.
fn murmur(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks();
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        hash ^= (word ^ word >> 47).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest
            .iter()
            .rev()
            .fold(0, |last, byte| last << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}

/// Raises a register to a value, if it is lower. Returns whether it was.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    most: usize,
) -> Result<bool, Corrupted> {
    if !is_sparse(bytes) {
        return Ok(raise_dense(bytes, index, value));
    }
    if value <= MOST_VALUE
        && let Some(changed) = raise_sparse(bytes, index, value, most)?
    {
        return Ok(changed);
    }
    make_dense(bytes)?;
    Ok(raise_dense(bytes, index, value))
}

/// The value of a dense register.
fn dense(bytes: &[u8], index: usize) -> u8 {
    let bit = index * 6;
    let at = HEADER + bit / 8;
    let byte = |at| u16::from(bytes.get(at).copied().unwrap_or(0));
    ((byte(at) | byte(at + 1) << 8) >> (bit % 8)) as u8 & 63
}

fn raise_dense(bytes: &mut [u8], index: usize, value: u8) -> bool {
    if value <= dense(bytes, index) {
        return false;
    }
    let bit = index * 6;
    let at = HEADER + bit / 8;
    let (mask, new) = (63u16 << (bit % 8), u16::from(value) << (bit % 8));
    for (at, (mask, new)) in (at..).zip(mask.to_le_bytes().into_iter().zip(new.to_le_bytes())) {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *byte & !mask | new;
        }
    }
    true
}

/// A run of equal registers in the sparse encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// 0 for zeros.
    pub(super) value: u8,
    pub(super) len: usize,
    /// How many bytes it takes: 1, or 2 for many zeros.
    pub(super) size: usize,
}

fn run_at(bytes: &[u8], at: usize) -> Option<Run> {
    let byte = *bytes.get(at)?;
    Some(match byte >> 6 {
        0 => Run {
            value: 0,
            len: usize::from(byte) + 1,
            size: 1,
        },
        1 => {
            let low = bytes.get(at + 1).copied().unwrap_or(0);
            Run {
                value: 0,
                len: (usize::from(byte & 63) << 8 | usize::from(low)) + 1,
                size: 2,
            }
        }
        _ => Run {
            value: (byte >> 2 & 31) + 1,
            len: usize::from(byte & 3) + 1,
            size: 1,
        },
    })
}

/// The runs of a sparse one.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let run = run_at(bytes, at)?;
        at += run.size;
        Some(run)
    })
}

fn push_zeros(to: &mut Vec<u8>, len: usize) {
    match len {
        0 => {}
        1..=LONGEST_ZEROS => to.push((len - 1) as u8),
        _ => to.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
    }
}

fn values(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Returns whether the register changed; `None` if that does not fit, so that it must become dense.
fn raise_sparse(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    most: usize,
) -> Result<Option<bool>, Corrupted> {
    // The run that covers the register.
    let (mut at, mut first, mut previous) = (HEADER, 0, HEADER);
    let run = loop {
        let run = run_at(bytes, at).ok_or(Corrupted)?;
        if index < first + run.len {
            break run;
        }
        previous = at;
        at += run.size;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Some(false));
    }
    if run.len == 1 && run.size == 1 {
        bytes[at] = values(value, 1);
    } else {
        // It is split: what comes before, the register, and what comes after.
        let (before, after) = (index - first, first + run.len - 1 - index);
        let mut split = Vec::with_capacity(5);
        let push = |split: &mut Vec<u8>, len: usize| match run.value {
            0 => push_zeros(split, len),
            _ if len > 0 => split.push(values(run.value, len)),
            _ => {}
        };
        push(&mut split, before);
        split.push(values(value, 1));
        push(&mut split, after);
        let len = bytes.len() + split.len() - run.size;
        if split.len() > run.size && len > most {
            return Ok(None);
        }
        let end = bytes.len().min(at + run.size);
        bytes.splice(at..end, split);
        // Only shorter if the last run was cut off.
        bytes.truncate(len);
    }
    merge(bytes, previous);
    outdate(bytes);
    Ok(Some(true))
}

/// Merges runs of the same value, among the five from here on.
fn merge(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = run_at(bytes, at) else {
            return;
        };
        if run.value > 0
            && let Some(next) = run_at(bytes, at + 1)
            && next.value == run.value
            && run.len + next.len <= LONGEST_VALUES
        {
            bytes[at + 1] = values(run.value, run.len + next.len);
            bytes.remove(at);
        } else {
            at += run.size;
        }
    }
}

/// Makes it dense, and keeps the cached estimate.
pub(super) fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupted> {
    if !is_sparse(bytes) {
        return Ok(());
    }
    let mut all = [0; REGISTERS];
    merge_into(&mut all, bytes)?;
    let mut made = vec![0; DENSE_LEN];
    made[..HEADER].copy_from_slice(bytes.get(..HEADER).ok_or(Corrupted)?);
    made[ENCODING_AT] = DENSE;
    for (index, value) in all.into_iter().enumerate() {
        raise_dense(&mut made, index, value);
    }
    *bytes = made;
    Ok(())
}

/// Raises each of the registers to that of another HyperLogLog.
pub(super) fn merge_into(all: &mut [u8; REGISTERS], bytes: &[u8]) -> Result<(), Corrupted> {
    if !is_sparse(bytes) {
        for (index, register) in all.iter_mut().enumerate() {
            *register = (*register).max(dense(bytes, index));
        }
        return Ok(());
    }
    let mut at = 0usize;
    for run in runs(bytes) {
        let end = at + run.len;
        if run.value > 0 {
            for register in all.get_mut(at..end).ok_or(Corrupted)? {
                *register = (*register).max(run.value);
            }
        }
        at = end;
    }
    if at == REGISTERS {
        Ok(())
    } else {
        Err(Corrupted)
    }
}

/// Estimates how many different elements were added.
pub(super) fn estimate(bytes: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram = [0u64; 64];
    if is_sparse(bytes) {
        let mut total = 0;
        for run in runs(bytes) {
            histogram[usize::from(run.value)] += run.len as u64;
            total += run.len;
        }
        if total != REGISTERS {
            return Err(Corrupted);
        }
    } else {
        for index in 0..REGISTERS {
            histogram[usize::from(dense(bytes, index))] += 1;
        }
    }
    Ok(estimate_of(&histogram))
}

/// The estimate for registers of a byte each.
pub(super) fn estimate_all(all: &[u8; REGISTERS]) -> u64 {
    let mut histogram = [0u64; 64];
    for register in all {
        histogram[usize::from(register & 63)] += 1;
    }
    estimate_of(&histogram)
}

/// The estimator of Otmar Ertl (arXiv:1702.01284), from how many registers have each value.
fn estimate_of(histogram: &[u64; 64]) -> u64 {
    /// 0.5 / ln 2
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let most = RUN_BITS as usize;
    let mut z = m * tau((m - histogram[most + 1] as f64) / m);
    for count in histogram[1..=most].iter().rev() {
        z += *count as f64;
        z *= 0.5;
    }
    z += m * sigma(histogram[0] as f64 / m);
    let estimate = (ALPHA * m * m / z).round();
    if estimate.is_finite() {
        estimate as u64
    } else {
        // What x86 processors make of an infinity.
        1 << 63
    }
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before >= z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before <= z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registers(bytes: &[u8]) -> [u8; REGISTERS] {
        let mut all = [0; REGISTERS];
        merge_into(&mut all, bytes).unwrap();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn sparse_and_dense_hold_the_same_registers(
            raises in prop::collection::vec((0..200usize, 1u8..=51), 0..400),
            most in prop_oneof![Just(20usize), Just(3000)],
        ) {
            let (mut sparse, mut model) = (empty(), [0u8; REGISTERS]);
            let mut packed = empty();
            make_dense(&mut packed).unwrap();
            for (index, value) in raises {
                let index = index * 81;
                let value = if most == 3000 { value.min(32) } else { value };
                let changed = value > model[index];
                model[index] = model[index].max(value);
                prop_assert_eq!(raise(&mut sparse, index, value, most), Ok(changed));
                prop_assert_eq!(raise(&mut packed, index, value, most), Ok(changed));
            }
            prop_assert!(registers(&sparse) == model && registers(&packed) == model);
            prop_assert_eq!(estimate(&sparse), estimate(&packed));
            prop_assert_eq!(estimate(&packed), Ok(estimate_all(&model)));
            prop_assert!(is_valid(&sparse) && is_valid(&packed));
        }

        #[test]
        fn no_bytes_make_it_panic(
            tail in prop::collection::vec(any::<u8>(), 0..60),
            dense in any::<bool>(),
            elements in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = empty();
            bytes.truncate(HEADER);
            bytes.extend(tail);
            bytes[ENCODING_AT] = if dense { DENSE } else { SPARSE };
            let _ = estimate(&bytes);
            let _ = merge_into(&mut [0; REGISTERS], &bytes);
            for element in elements {
                let _ = add(&mut bytes, &[element], 40);
            }
            let _ = make_dense(&mut bytes);
        }
    }

    #[test]
    fn a_new_one_is_empty() {
        let bytes = empty();
        assert_eq!(bytes, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert_eq!((cached(&bytes), estimate(&bytes)), (Some(0), Ok(0)));
    }

    #[test]
    fn the_estimate_is_close() {
        let mut bytes = empty();
        let mut checked = 10u32;
        for n in 1..=100_000u32 {
            add(&mut bytes, &n.to_le_bytes(), 3000).unwrap();
            if n == checked {
                let estimate = estimate(&bytes).unwrap() as f64;
                assert!(
                    (estimate / f64::from(n) - 1.0).abs() < 0.05,
                    "{n}: {estimate}"
                );
                checked *= 10;
            }
        }
    }
}
