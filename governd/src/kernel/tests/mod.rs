//! Tests with real programs in a real kernel.
use super::*;
#[test]
fn loads() {
    let path = std::path::PathBuf::from("/sys/fs/cgroup/unified/kt-first");
    std::fs::create_dir_all(&path).unwrap();
    let kernel = Kernel::load(&KernelOptions { cgroup: Some(path.clone()), ..Default::default() });
    match &kernel {
        Ok(kernel) => println!("{:#?}", kernel.status().unwrap()),
        Err(error) => {
            use std::error::Error;
            let mut e: &dyn Error = error;
            loop {
                let t = e.to_string();
                println!("{}", if t.len() > 6000 { &t[t.len() - 6000..] } else { &t });
                match e.source() {
                    Some(s) => e = s,
                    None => break,
                }
            }
        }
    }
    drop(kernel);
    std::fs::remove_dir(&path).unwrap();
}
