//! Compiles the crate again when a migration is added. The macro that embeds migrations does not
//! notice a new folder.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
