//! Telling texts, and lists of one value of each variant.

/// What must not be left of any of them.
pub const TELLING: [&str; 14] = [
    "acme",
    "payroll",
    "inet-gw",
    "nft-proxy",
    "default-route",
    "20.30",
    "20-30",
    "20_30",
    "db8:acce",
    "f1:c5",
    "f1-c5",
    "c5f6",
    "169090600",
    "3f2504e0",
];

/// A name that sounds like one of netdiag's own words.
pub fn name() -> String {
    "acme-payroll.inet-gw.nft-proxy.default-route-10-20-30-40".into()
}

/// A sentence with addresses in every notation.
pub fn text() -> String {
    "Journal-of acme-payroll, inet-gw, nft-proxy (default-route): 10.20.30.40 v10.20.30.40 \
     10_20_30_40 010.020.030.040 ip-10-20-30-40 [2001:db8:acce::7]:80 02:f1:c5:f6:2a:01 \
     02-f1-c5-f6-2a-01 02f1.c5f6.2a01 169090600 alice@acme.example \
     3f2504e0-4f89-1103-9a0c-0305e82c3301 IptablesNft Inet Journal"
        .into()
}

/// A list of these. A variant that is new does not compile here until it has its line, and a line
/// that is not of its variant fails.
macro_rules! every {
    ($of:ty: $($variant:pat => $sample:expr,)+) => {{
        fn is_covered(it: &$of) {
            match it {
                $($variant => {})+
            }
        }
        let mut all: Vec<$of> = Vec::new();
        $(
            all.push($sample);
            assert!(matches!(all.last(), Some($variant)));
        )+
        all.iter().for_each(is_covered);
        all
    }};
}
