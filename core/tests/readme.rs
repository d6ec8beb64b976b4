//! The README's program is `examples/three_nodes.rs`, word for word. That it does what it says is
//! tested with the documentation: the README is the crate's, and its programs run with the tests.

#[test]
fn the_program_in_the_readme_is_the_example() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/three_nodes.rs");
    let (_, rest) = readme.split_once("```rust\n").expect("a program");
    let (program, _) = rest.split_once("```\n").expect("its end");
    assert!(program == example, "README.md shows another program than examples/three_nodes.rs");
}
