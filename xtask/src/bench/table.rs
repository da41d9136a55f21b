//! The figures as a Markdown table, laid out as the README has it.
use super::numbers::{Numbers, Own, Rates};

const MIB: f64 = 1024.0 * 1024.0;

pub fn markdown(numbers: &Numbers) -> String {
    let Numbers { flood, storm, .. } = numbers;
    let ns = |wanted: &[&str]| {
        let found = wanted.iter().filter_map(|name| {
            let (full, ns) = numbers.programs.iter().find(|(it, _)| it == name)?;
            Some(format!("{full} {ns:.0}"))
        });
        found.collect::<Vec<_>>().join(", ")
    };
    let empty = ["empty", "empty_kfree_skb"];
    let ours: Vec<&str> = numbers
        .programs
        .keys()
        .map(String::as_str)
        .filter(|name| !empty.contains(name))
        .collect();
    let row = |name: &str, cells: [String; 5]| format!("| {name} | {} |", cells.join(" | "));
    let lines = [
        "| attached | UDP rate | per CPU second | storm rate | per CPU second | ns per run |"
            .to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
        row("nothing", base(flood, storm)),
        row(
            "empty programs",
            ratios(flood, storm, |it| &it.empty, ns(&empty)),
        ),
        row("netdiag", ratios(flood, storm, |it| &it.netdiag, ns(&ours))),
        String::new(),
        own("64-byte UDP", &numbers.own_flood),
        own("drop storm", &numbers.own_storm),
        format!("netdiag's maps: {:.1} MiB.", numbers.maps / MIB),
        format!(
            "Medians of {} interleaved rounds of ratios to nothing attached; {:.1} % of the UDP \
             packets arrived.",
            numbers.rounds,
            numbers.arrived * 100.0
        ),
    ];
    lines.join("\n")
}

fn base(flood: &Rates, storm: &Rates) -> [String; 5] {
    let rate = |rate: f64| format!("1 ({:.0} k/s)", rate / 1e3);
    [
        rate(flood.base),
        rate(flood.cpu_base),
        rate(storm.base),
        rate(storm.cpu_base),
        String::new(),
    ]
}

fn ratios(
    flood: &Rates,
    storm: &Rates,
    of: fn(&Rates) -> &super::numbers::Ratio,
    programs: String,
) -> [String; 5] {
    let cell = |rates: &Rates| {
        let it = of(rates);
        let (low, high) = it.quartiles;
        [
            format!("{:.2}", it.rate),
            format!("{:.2} ({low:.2}–{high:.2})", it.cpu),
        ]
    };
    let ([a, b], [c, d]) = (cell(flood), cell(storm));
    [a, b, c, d, programs]
}

fn own(load: &str, own: &Own) -> String {
    let (share, rss) = (own.share * 100.0, own.rss / MIB);
    format!("netdiag itself during {load}: {share:.1} % of a core, RSS {rss:.1} MiB.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each() -> anyhow::Result<()> {
        let text = markdown(&super::super::numbers::tests::numbers()?);
        assert!(text.contains("| netdiag | 0.91 | 0.91 ("), "{text}");
        assert!(text.contains("hop_ingress 120"), "{text}");
        assert!(text.contains("RSS 1.0 MiB"), "{text}");
        Ok(())
    }
}
