//! The way of a flow as it is computed from the state: who decides at each station, where it ends, and pale what it
//! does not go by.
use maud::{Markup, html};
use netdiag_lang::{retold, t};

use super::text::shown;
use crate::{
    model::predicted::{Branch, Does, Forecast, Predicted, Stop},
    page::MOST,
};

pub fn ways(all: &[Predicted]) -> Markup {
    html! {
        @for one in all {
            details.computed open[one.outcome == Forecast::Refused] {
                summary { (t!("As computed from what was read")) }
                (stops(&one.request))
                @for way in &one.reply {
                    p.title { (t!("Its answer")) }
                    (stops(&way.steps))
                }
            }
        }
    }
}

fn stops(all: &[Stop]) -> Markup {
    let mut whose = "";
    let told = all.iter().take(MOST).map(|stop| {
        let first = whose != stop.whose;
        whose = &stop.whose;
        one(stop, first)
    });
    let told: Vec<Markup> = told.collect();
    html! {
        ul.stops { @for stop in told { (stop) } }
    }
}

fn one(stop: &Stop, first: bool) -> Markup {
    let class = match stop.does {
        Does::Refuses => Some("dead"),
        Does::Unknown => Some("unknown"),
        Does::Delivers | Does::Leaves => Some("through"),
        _ => None,
    };
    let some_die = stop.branches.iter().any(|it| dies(&it.steps));
    html! {
        @if first {
            li.whose { (shown(&retold(&stop.whose))) }
        }
        li class=[class] {
            span.station { (stop.station.word()) }
            " " (shown(&retold(&stop.text)))
            @if let Some(by) = &stop.by {
                div.by {
                    (shown(&t!("by {by}")))
                    @if let Some(command) = &stop.shown_by {
                        " " code { (shown(&command.text())) }
                    }
                }
            }
            @for way in stop.branches.iter().take(MOST) {
                (branch(way, some_die && !dies(&way.steps)))
            }
        }
    }
}

fn branch(way: &Branch, pale: bool) -> Markup {
    html! {
        div class=(if pale { "branch pale" } else { "branch" }) {
            @if let Some(share) = way.share {
                p { (t!("{:.0} % of them", share * 100.0)) }
            }
            (stops(&way.steps))
        }
    }
}

fn dies(steps: &[Stop]) -> bool {
    let own = |stop: &Stop| stop.does == Does::Refuses;
    steps
        .iter()
        .any(|stop| own(stop) || stop.branches.iter().any(|it| dies(&it.steps)))
}
