#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nearcache_embedded::__fuzz::requests(data));
