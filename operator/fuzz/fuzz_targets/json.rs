//! Feeds [`debugbundle_fuzz::properties::json`] what libFuzzer makes up. What holds is told there.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| debugbundle_fuzz::properties::json(input));
