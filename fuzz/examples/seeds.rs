//! Writes cargo-fuzz's initial corpus: `fuzz/corpus/<target>/`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, _) in vega_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in vega_fuzz::seeds(target).iter().enumerate() {
            std::fs::write(folder.join(format!("vector-{number}")), seed)?;
        }
    }
    Ok(())
}
