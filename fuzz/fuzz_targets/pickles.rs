#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nearcache::__fuzz::pickles(data));
