//! The 60 behaviours of the README of tower-breaker, asked of tower-breaker, tower-resilience-circuitbreaker, failsafe and
//! recloser by the same questions.
//!
//! `cargo bench --features behaviours --bench breaker_behaviours`. "yes" when it holds, "no" when it does not, "-" when the
//! crate has no such thing, with the reason below the table. Where a crate calls it differently, the nearest setting is
//! used; the minimum of recloser is the length of its ring. Each reads the time that can be moved, where it has one:
//! tokio's, or the mock of failsafe; the others read the system's, in which the questions really wait.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod asked;
mod questions;
mod subjects;

use asked::World;
use questions::GROUPS;
use subjects::Lack;
use subjects::failsafe::FAILSAFE;
use subjects::ours::OURS;
use subjects::recloser::RECLOSER;
use subjects::tower_resilience::TOWER_RESILIENCE;

fn main() {
    // Some of them panic, which is a result like any other.
    std::panic::set_hook(Box::new(|_| {}));
    let contestants = [OURS, TOWER_RESILIENCE, FAILSAFE, RECLOSER];
    let mut reasons: [Vec<(Lack, Vec<u32>)>; 4] = Default::default();
    let (mut asked, mut held) = (0, [0; 4]);
    println!("| | behaviour | {} |", contestants.each_ref().map(|who| who.name).join(" | "));
    println!("|---|---|---|---|---|---|");
    for (group, questions) in GROUPS {
        println!("| | **{group}** | | | | |");
        for (number, text, question) in questions {
            print!("| {number} | {text} |");
            asked += 1;
            assert_eq!(asked, *number, "in order, and none left out");
            for (index, who) in contestants.iter().enumerate() {
                let answer = World::ask(who, *question);
                held[index] += u32::from(answer == Ok(true));
                let says = match answer {
                    Ok(true) => "yes",
                    Ok(false) | Err(Lack::Fails(_)) => "no",
                    Err(Lack::Absent(_)) => "-",
                };
                print!(" {says} |");
                if let Err(lack) = answer {
                    match reasons[index].iter_mut().find(|(other, _)| *other == lack) {
                        Some((_, numbers)) => numbers.push(*number),
                        None => reasons[index].push((lack, vec![*number])),
                    }
                }
            }
            println!();
        }
    }
    println!("| | of {asked} | {} |\n", held.map(|count| count.to_string()).join(" | "));
    for (who, reasons) in contestants.iter().zip(reasons) {
        for (Lack::Absent(reason) | Lack::Fails(reason), numbers) in reasons {
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            println!("- {}, {}: {reason}", who.name, numbers.join(", "));
        }
    }
    assert_eq!((asked, held[0]), (60, 60), "ours have tests of their own");
}
