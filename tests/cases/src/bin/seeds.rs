//! `cargo run -p tidegate-cases --bin seeds -- FOLDER`: writes the seeds of every fuzz target below FOLDER, one file
//! each, named by its content. Files that are there stay.

#![forbid(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::{env, fs, io};
use tidegate_cases::seeds;
use tidegate_cases::targets::TARGETS;

fn main() -> io::Result<()> {
    let folder = env::args()
        .nth(1)
        .unwrap_or_else(|| "fuzz/corpus".to_owned());
    for target in TARGETS {
        let folder = Path::new(&folder).join(target.name);
        fs::create_dir_all(&folder)?;
        let seeds = seeds::of(target.name);
        for seed in &seeds {
            fs::write(folder.join(name_of(seed)), seed)?;
        }
        println!("{}: {} seeds", target.name, seeds.len());
    }
    Ok(())
}

fn name_of(seed: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
