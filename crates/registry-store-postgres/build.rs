//! Compiles again when a migration comes: the embedding macro alone would not notice a new folder.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/postgres");
}
