//! LLVM's libunwind for musl, from the sources that come with the compiler's own: what carries
//! panics where no C library of the distribution brings an unwinder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::run;

/// Below the sysroot.
const SOURCES: &str = "lib/rustlib/src/rust/src/llvm-project/libunwind";
/// Files, and how they are compiled: what the compiler's own build does for musl.
const FILES: [(&str, &[&str]); 6] = [
    ("Unwind-sjlj.c", C),
    ("UnwindLevel1-gcc-ext.c", C),
    ("UnwindLevel1.c", C),
    ("UnwindRegistersRestore.S", &[]),
    ("UnwindRegistersSave.S", &[]),
    ("libunwind.cpp", CPP),
];
const C: &[&str] = &["-std=c99", "-fexceptions"];
const CPP: &[&str] = &["-x", "c++", "-std=c++17", "-nostdinc++", "-fno-exceptions", "-fno-rtti"];
const COMMON: &[&str] = &[
    "-fPIC",
    "-O2",
    "-fno-strict-aliasing",
    "-funwind-tables",
    "-fvisibility=hidden",
    "-D_LIBUNWIND_IS_NATIVE_ONLY",
    "-D_LIBUNWIND_HIDE_SYMBOLS",
    "-DNDEBUG",
];

/// Builds `libunwind.a` in a folder, which the linker then looks in.
pub(super) fn build(sysroot: &Path, compiler: &str, folder: &Path) -> Result<PathBuf> {
    let sources = sysroot.join(SOURCES);
    if !sources.join("src").is_dir() {
        bail!(
            "no sources of libunwind in {}; hint: `rustup component add rust-src` brings them",
            sources.display()
        );
    }
    fs::create_dir_all(folder)?;
    let mut objects = Vec::new();
    for (file, flags) in FILES {
        let object = folder.join(file).with_extension("o");
        run::read(
            run::command(compiler)?
                .args(flags)
                .args(COMMON)
                .arg(format!("-ffile-prefix-map={}=/libunwind", sources.display()))
                .arg("-I")
                .arg(sources.join("include"))
                .arg("-c")
                .arg(sources.join("src").join(file))
                .arg("-o")
                .arg(&object),
        )?;
        objects.push(object);
    }
    let library = folder.join("libunwind.a");
    if library.exists() {
        fs::remove_file(&library)?;
    }
    // Deterministic: no times and owners.
    run::read(run::command("ar")?.arg("rcD").arg(&library).args(objects))?;
    Ok(folder.to_path_buf())
}
