//! Takes the descriptor set that the `envoy-types` package ships, drops the comments in it
//! (`source_code_info`, more than half of its bytes) and leaves the rest in `OUT_DIR/envoy.fds`.
//!
//! It works on the wire format on purpose: `prost_types::FileDescriptorSet` does not keep unknown
//! fields, so decoding and encoding through it would lose every `(validate.rules)` option.

use std::{env, fs, path::PathBuf, process::Command};

const FILE_DESCRIPTOR_SET_FILE: u64 = 1;
const FILE_DESCRIPTOR_SOURCE_CODE_INFO: u64 = 9;

fn main() {
    println!("cargo::rerun-if-changed=src/api/build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    let full = fs::read(descriptor_set_path()).expect("envoy-types ships src/generated/types.bin");
    let slim = copy_records(&full, None, |field, body| {
        (field == FILE_DESCRIPTOR_SET_FILE)
            .then(|| copy_records(body, Some(FILE_DESCRIPTOR_SOURCE_CODE_INFO), |_, _| None))
    });
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("envoy.fds");
    fs::write(out, slim).expect("OUT_DIR is writable");
}

/// Asks cargo where the unpacked `envoy-types` package lies.
///
/// Cargo answers only when every package of the lock file is there, those of tests too, which a first
/// `cargo build` or `cargo run` has not fetched: then cargo is asked once more and may fetch them.
fn descriptor_set_path() -> PathBuf {
    let metadata = cargo_metadata(&["--offline"])
        .or_else(|_| cargo_metadata(&["--locked"]))
        .unwrap_or_else(|message| panic!("cargo metadata: {message}"));
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("envoy-types is a dependency");
    PathBuf::from(manifest).with_file_name("src").join("generated/types.bin")
}

/// What `cargo metadata` prints, or what it complains about.
fn cargo_metadata(arguments: &[&str]) -> Result<serde_json::Value, String> {
    let target = env::var("TARGET").expect("set by cargo");
    let output = Command::new(env::var_os("CARGO").expect("set by cargo"))
        .args(["metadata", "--format-version", "1", "--filter-platform", &target])
        .args(arguments)
        .current_dir(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .output()
        .expect("cargo metadata runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON"))
}

/// Copies the records of one message without field `skip`; `replace` may give a record a new body.
/// Only the wire types that descriptors use (varint and length-delimited) are known.
fn copy_records(
    message: &[u8],
    skip: Option<u64>,
    replace: impl Fn(u64, &[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let (mut at, mut out) = (0, Vec::with_capacity(message.len()));
    while at < message.len() {
        let start = at;
        let tag = read_varint(message, &mut at);
        let field = tag >> 3;
        match tag & 7 {
            0 => {
                read_varint(message, &mut at);
                if Some(field) != skip {
                    out.extend_from_slice(&message[start..at]);
                }
            }
            2 => {
                let len = read_varint(message, &mut at) as usize;
                let body = &message[at..at + len];
                at += len;
                if Some(field) == skip {
                    continue;
                }
                match replace(field, body) {
                    Some(new_body) => {
                        write_varint(&mut out, tag);
                        write_varint(&mut out, new_body.len() as u64);
                        out.extend(new_body);
                    }
                    None => out.extend_from_slice(&message[start..at]),
                }
            }
            wire_type => panic!("wire type {wire_type} in a descriptor set"),
        }
    }
    out
}

fn read_varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
