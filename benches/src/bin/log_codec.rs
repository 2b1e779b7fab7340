//! Lines as templates and columns beside rows of zstd, on the same blocks in the same run. It
//! measures the codec alone; the timestamps of the entries, files and queries are left out.
//!
//!     log_codec FOLDER [BLOCK_MIB]
//!
//! The folder holds logs as a container runtime writes them: time, stream, `P` or `F`, text. CPU
//! seconds are those of this one thread, from `/proc/self/schedstat`.

use std::io;
use std::path::Path;

use kansoku_benches::container_logs::{self, Stream, thread_cpu_s};
use kansoku_model::Slice;
use kansoku_store::template::{self, Effort, Encoder, Parts, Streams};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first() else {
        return Err(io::Error::other("usage: log_codec FOLDER [BLOCK_MIB]"));
    };
    let block_mib: usize = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(4);
    let streams = container_logs::read(Path::new(folder))?;
    let blocks: Vec<Stream> = streams
        .iter()
        .flat_map(|stream| blocks(stream, block_mib << 20))
        .collect();
    let n_lines: usize = blocks.iter().map(|b| b.lines.len()).sum();
    let n_bytes: usize = blocks.iter().map(|b| b.text.len()).sum();
    println!(
        "{n_lines} lines, {n_bytes} bytes, {} blocks of up to {block_mib} MiB",
        blocks.len()
    );
    println!("| method | bytes per line | encode CPU-s per GB | decode MB/s |");
    println!("|---|---|---|---|");
    let row = |name: &str, bytes: usize, encode_s: f64, decode_s: f64| {
        println!(
            "| {name} | {:.2} | {:.2} | {:.0} |",
            bytes as f64 / n_lines as f64,
            encode_s * 1e9 / n_bytes as f64,
            n_bytes as f64 / 1e6 / decode_s
        );
    };
    for level in [1, 3] {
        let (bytes, encode_s, decode_s) = rows(&blocks, level)?;
        row(&format!("zstd-{level} rows"), bytes, encode_s, decode_s);
    }
    for (name, effort) in [("flush", Effort::Flush), ("merge", Effort::Merge)] {
        let (sizes, encode_s, decode_s) = templates(&blocks, effort)?;
        let total = sizes.iter().sum();
        row(&format!("templates, {name}"), total, encode_s, decode_s);
        let each = sizes.map(|n| format!("{:.2}", n as f64 / n_lines as f64));
        println!(
            "|  structure, numbers, texts, packed: {} | | | |",
            each.join(", ")
        );
    }
    Ok(())
}

fn rows(blocks: &[Stream], level: i32) -> io::Result<(usize, f64, f64)> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let start = thread_cpu_s();
    let packed = blocks
        .iter()
        .map(|b| compressor.compress(&b.text))
        .collect::<io::Result<Vec<_>>>()?;
    let encoded = thread_cpu_s();
    let mut out = Vec::new();
    for (packed, block) in packed.iter().zip(blocks) {
        out.clear();
        out.reserve(block.text.len());
        decompressor.decompress_to_buffer(packed, &mut out)?;
        assert!(out == block.text);
    }
    let total = packed.iter().map(Vec::len).sum();
    Ok((total, encoded - start, thread_cpu_s() - encoded))
}

fn templates(blocks: &[Stream], effort: Effort) -> io::Result<([usize; 4], f64, f64)> {
    let mut encoder = Encoder::new(effort)?;
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let start = thread_cpu_s();
    let mut encoded = Vec::new();
    for b in blocks {
        let streams = template::encode(&mut encoder, &b.text, &b.lines, &b.times);
        let lens = [streams.structure.len(), streams.texts.len()];
        let packed = Streams {
            structure: compressor.compress(&streams.structure)?,
            texts: compressor.compress(&streams.texts)?,
            ..streams
        };
        encoded.push((packed, lens));
    }
    let encode_s = thread_cpu_s() - start;
    let start = thread_cpu_s();
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for ((streams, lens), block) in encoded.iter().zip(blocks) {
        let structure = decompressor.decompress(&streams.structure, lens[0])?;
        let texts = decompressor.decompress(&streams.texts, lens[1])?;
        let parts = Parts {
            structure: &structure,
            texts: &texts,
            ..streams.parts()
        };
        text.clear();
        template::decode(parts, &block.times, block.text.len(), &mut text, &mut ends)
            .map_err(|e| io::Error::other(e.0))?;
        assert!(text == block.text);
    }
    let decode_s = thread_cpu_s() - start;
    let mut sizes = [0; 4];
    for (s, _) in &encoded {
        let lens = [&s.structure, &s.numbers, &s.texts, &s.packed].map(Vec::len);
        sizes
            .iter_mut()
            .zip(lens)
            .for_each(|(size, len)| *size += len);
    }
    Ok((sizes, encode_s, decode_s))
}

/// A stream in pieces of the size of a block.
fn blocks(stream: &Stream, block_bytes: usize) -> Vec<Stream> {
    let mut blocks = Vec::new();
    let mut block = Stream::default();
    for (row, time) in stream.times.iter().enumerate() {
        let line = stream.line(row);
        block.lines.push(Slice {
            start: block.text.len() as u32,
            len: line.len() as u32,
        });
        block.text.extend_from_slice(line);
        block.times.push(*time);
        if block.text.len() >= block_bytes {
            blocks.push(std::mem::take(&mut block));
        }
    }
    if !block.lines.is_empty() {
        blocks.push(block);
    }
    blocks
}
