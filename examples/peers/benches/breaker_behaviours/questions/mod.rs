//! The behaviours of the README of tower-breaker, as questions that can be put to anybody.

mod beyond;
mod closed;
mod half_open;
mod manual;
mod open;

use crate::asked::Question;

/// By the part of the life of a breaker they are about.
pub const GROUPS: [(&str, &[Question]); 5] = [
    ("closed", closed::QUESTIONS),
    ("open", open::QUESTIONS),
    ("half open", half_open::QUESTIONS),
    ("by hand, and events", manual::QUESTIONS),
    ("beyond what others promise", beyond::QUESTIONS),
];
