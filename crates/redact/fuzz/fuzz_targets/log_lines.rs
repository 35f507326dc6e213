//! Feeds [`debugbundle_fuzz::properties::log_lines`] inputs that libFuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| debugbundle_fuzz::properties::log_lines(input));
