//! Octets for the target `content`; what it promises stands in `tidegate_cases::targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_cases::targets::content(data));
