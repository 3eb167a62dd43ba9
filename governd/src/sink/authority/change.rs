//! Keys that replace others: an authority beside the one that hosts know, and a key that cosigns
//! beside the one that did. Hosts learn both from the sink that they trust already, and get
//! certificates of the next authority by renewing theirs. Then the former keys go.
//!
//! Each step is one file that is put into place whole. Between two of them a sink can be opened as
//! well: it trusts the next authority from the first on, and the former one until the last.

use std::{fs, io, path::Path};

use rcgen::KeyPair;

use super::{
    Authority, AuthorityError, CA_CERTIFICATE, CA_KEY, Ca, NEXT, SERVER_DAYS, WITNESS_KEY,
    cosigners, file, new_cosigner, put, put_server,
};

/// Makes the next authority and the next key that cosigns. A sink has both beside those it had,
/// from its next start on.
///
/// # Errors
/// If there is no sink, another change is not finished, or files cannot be written.
pub fn begin(directory: &Path) -> Result<(), AuthorityError> {
    if Authority::open(directory)?.next.is_some() {
        return Err(AuthorityError::Changing(directory.to_owned()));
    }
    let keys = cosigners(directory)?;
    // An attempt before this one may have ended between the two files.
    if !keys.is_changing() {
        let newest = new_cosigner(keys.witnesses().newest().name())?;
        let keys = keys.begin(newest).map_err(|_| AuthorityError::TooMany)?;
        put(directory, WITNESS_KEY, &keys.secret())?;
    }
    put(directory, NEXT, &Ca::new(KeyPair::generate()?)?.text())
}

/// Takes the former authority and the former key that cosigned away: from its next start on a sink
/// has the next ones alone. The server gets a certificate of the next authority for these names.
///
/// # Errors
/// If nothing is being replaced, or files cannot be written: then it may be tried again.
pub fn finish(directory: &Path, names: &[String]) -> Result<(), AuthorityError> {
    let Some(next) = Authority::open(directory)?.next else {
        return Err(AuthorityError::NotChanging(directory.to_owned()));
    };
    put_server(directory, &next.issuer, names, SERVER_DAYS)?;
    put(directory, WITNESS_KEY, &cosigners(directory)?.finish().secret())?;
    put(directory, CA_KEY, &next.text())?;
    put(directory, CA_CERTIFICATE, &next.certificate)?;
    let next = file(directory, NEXT);
    fs::remove_file(&next).map_err(|source| AuthorityError::File { path: next, source })
}

/// The next authority, where there is one that is not the authority already.
pub(super) fn next(directory: &Path, current: &Ca) -> Result<Option<Ca>, AuthorityError> {
    let path = file(directory, NEXT);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Ca::parse(&path, &text, "")?).filter(|next| !next.is(current))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path, source }),
    }
}
