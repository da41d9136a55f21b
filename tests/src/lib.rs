//! Black-box tests of netdiag.
