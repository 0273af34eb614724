#![no_main]
#![allow(missing_docs, reason = "the target is described where it is defined")]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vega_fuzz::api_key(data));
