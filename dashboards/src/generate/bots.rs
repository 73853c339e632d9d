//! The dashboard *Bots*: which machines came, how much of the traffic they are, and when there were too many.

use crate::generate::annotations::annotations;
use crate::generate::badge::badge;
use crate::generate::bot_floods as floods;
use crate::generate::bot_panels as panels;
use crate::generate::filter_bar::filter_bar;
use crate::generate::page::Page;
use crate::generate::variable_list;

const NAME: &str = "bots";

/// The dashboard.
pub(crate) fn bots() -> Page {
    Page::new(
        NAME,
        "Bots",
        "Which machines came, what share of all clicks they made, and on which links. Click a value to filter by it.",
    )
    .variables(variable_list::carried([variable_list::traffic("people")]))
    .variables([variable_list::compare()])
    .variables(variable_list::filters())
    .annotations(annotations())
    .panels(&badge(6))
    .panel(&filter_bar(NAME))
    .panel(&panels::totals())
    .panel(&panels::over_time())
    .panel(&panels::share_over_time())
    .section("By name")
    .panel(&panels::names(NAME))
    .panel(&panels::classes(NAME))
    .panel(&panels::language_models(NAME))
    .panel(&panels::links(NAME))
    .section("Floods")
    .panel(&floods::against_the_usual())
    .panel(&floods::floods(NAME))
    .section("One by one")
    .panel(&panels::newest(NAME))
}
