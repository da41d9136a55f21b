#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netdiag_host::stack::ruleset::bodies::xtables(bytes));
