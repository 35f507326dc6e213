//! Feeds [`debugbundle_fuzz::credentials`] inputs that libFuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| debugbundle_fuzz::credentials(input));
