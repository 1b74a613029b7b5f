//! The README's code is compiled code.

const README: &str = include_str!("../../../README.md");

/// The nth Rust block of the README.
fn block(number: usize) -> &'static str {
    let block = README.split("```rust\n").nth(number + 1).unwrap();
    block.split("```").next().unwrap()
}

/// A program without the comment at its top.
fn program(source: &'static str) -> &'static str {
    source.split_once("\n\n").unwrap().1
}

#[test]
fn the_first_block_is_a_program_of_twelve_lines_at_most() {
    assert_eq!(block(0), program(include_str!("../../src/bin/first_layer.rs")));
    assert!(block(0).lines().filter(|line| !line.is_empty()).count() <= 12);
}

#[test]
fn the_second_block_is_the_quickstart() {
    let source = include_str!("../../src/bin/quickstart.rs");
    assert_eq!(block(1), program(source));
    assert!(source.lines().count() < 60);
}

#[test]
fn the_two_commands_are_named() {
    assert!(README.contains("cargo run --release -p examples --bin gateway\n"));
    assert!(README.contains("scripts/test\n"));
}
