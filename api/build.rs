//! Compiles `proto/bigfleet.proto` without a protoc binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["proto/bigfleet.proto"], ["proto"])?;
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    println!("cargo:rerun-if-changed=proto/bigfleet.proto");
    Ok(())
}
