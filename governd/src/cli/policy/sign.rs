//! `governd policy sign` and `verify`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Exit, Failure, Outcome, Printer, invalid, read, unwritable};
use crate::{
    app::bundle,
    audit::checkpoint::{SEED_BYTES, Signer, Verifier},
    policy,
};

#[derive(Args, Debug)]
pub(super) struct Sign {
    /// The policy: a file, or a directory whose .yaml and .yml files are signed together.
    path: PathBuf,
    /// File of the private key. Its public key is in the file of the same name with `.pub`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make a new key under this name, such as acme/policy.
    #[arg(long, value_name = "NAME")]
    new_key: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The policy: a file, or a directory.
    path: PathBuf,
    /// File of the public key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Sign {
    pub(super) fn run(self) -> Outcome {
        let documents = read(std::slice::from_ref(&self.path))?;
        // What is not valid would never come into force.
        policy::load(&documents).map_err(invalid)?;
        let signer = match &self.new_key {
            Some(name) => new_key(name, &self.key)?,
            None => old_key(&self.key)?,
        };
        let path = bundle::signature_path(&self.path);
        let text = bundle::sign(&documents, &signer);
        fs::write(&path, text).map_err(|error| unwritten(error, &path))?;
        let line = format!("{} documents are signed in {}", documents.len(), path.display());
        Printer::new(false).line(line).map_err(unwritable)?;
        Ok(Exit::Yes)
    }
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let text = fs::read_to_string(&self.key).unwrap_or_default();
        let key = Verifier::parse(text.trim_end()).map_err(|error| no_key(error, &self.key))?;
        let documents = read(std::slice::from_ref(&self.path))?;
        if let Err(error) = bundle::verify(&self.path, &documents, &key) {
            let hint = error.hint();
            return Err(Failure::new(Exit::No, error, hint));
        }
        let line = format!("{} documents are as {} signed them", documents.len(), key.name());
        Printer::new(false).line(line).map_err(unwritable)?;
        Ok(Exit::Yes)
    }
}

fn old_key(path: &Path) -> Result<Signer, Failure> {
    let text = fs::read_to_string(path).unwrap_or_default();
    Signer::parse(text.trim_end()).map_err(|error| no_key(error, path))
}

fn no_key(error: impl Into<anyhow::Error>, path: &Path) -> Failure {
    let error = error.into().context(format!("{} is no key that signs policies", path.display()));
    let hint = "`governd policy sign PATH --key FILE --new-key NAME` makes FILE and FILE.pub";
    Failure::new(Exit::Environment, error, hint)
}

/// Makes a key, and writes its two halves. A file that is there is never written over.
fn new_key(name: &str, path: &Path) -> Result<Signer, Failure> {
    let mut seed = [0; SEED_BYTES];
    SystemRandom::new().fill(&mut seed).map_err(|_| {
        let error = anyhow::anyhow!("the system gives no randomness");
        Failure::plain(Exit::Environment, error)
    })?;
    let signer = Signer::new(name, seed).map_err(|error| {
        Failure::new(Exit::Usage, error, "a key's name has no spaces and no `+`")
    })?;
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let halves = [
        (path.to_path_buf(), signer.secret(), 0o600),
        (PathBuf::from(public), signer.verifier().to_string(), 0o644),
    ];
    for (path, text, mode) in &halves {
        let file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(path);
        file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
            .map_err(|error| unwritten(error, path))?;
    }
    Ok(signer)
}

fn unwritten(error: io::Error, path: &Path) -> Failure {
    let error = anyhow::Error::new(error).context(format!("cannot write {}", path.display()));
    Failure::new(Exit::Environment, error, "name a place that you may write to")
}
