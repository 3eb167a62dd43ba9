//! What the sink gave this host, and the way there. Keys of the sink are replaced only by what the
//! sink says itself, over a connection that its present authority vouches for, and cosigned by the
//! newest key that the host knows: neither the one nor the other alone can put others in its place.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    ADDRESS, CA, IDENTITY, RECEIPT, UplinkError, WITNESS,
    client::{Client, Trouble},
    read,
};
use crate::{
    audit::cosign::Witnesses,
    sink::{
        authority, files,
        validity::{End, Whose},
        wire::{Enrolled, Renew, SinkKeys},
    },
};

pub(super) struct Place {
    directory: PathBuf,
    sink: String,
    ca: String,
    /// When the certificate in it ends.
    authority: Option<End>,
    pub(super) witnesses: Witnesses,
    pub(super) client: Client,
    /// When the host's certificate ends.
    own: Option<End>,
}

impl Place {
    /// `None` if the host is not enrolled.
    pub(super) fn open(directory: PathBuf) -> Result<Option<Self>, UplinkError> {
        let sink = match read(&directory, ADDRESS) {
            Ok(sink) => sink,
            Err(UplinkError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let witnesses = Witnesses::parse(&read(&directory, WITNESS)?)?;
        let (ca, identity) = (read(&directory, CA)?, read(&directory, IDENTITY)?);
        let client = connection(&sink, &ca, &identity).map_err(UplinkError::Tls)?;
        let own = End::of_pem(Whose::Host, &identity);
        let authority = End::of_pem(Whose::Authority, &ca);
        Ok(Some(Self { directory, sink, ca, authority, witnesses, client, own }))
    }

    /// When the certificates end that the way to the sink needs, as far as is known.
    pub(super) fn ends(&self) -> Vec<End> {
        [self.own, self.client.server(), self.authority].into_iter().flatten().collect()
    }

    pub(super) fn receipt(&self) -> PathBuf {
        self.directory.join(RECEIPT)
    }

    /// Whether the sink's keys are those that a digest is of, or it does not announce any.
    pub(super) fn knows(&self, digest: &str) -> bool {
        digest.is_empty() || self.digest() == digest
    }

    fn digest(&self) -> String {
        SinkKeys::digest_of(&self.ca, &self.witnesses.to_string())
    }

    /// Asks the sink for its keys and trusts those from now on.
    pub(super) fn learn(
        &mut self,
        digest: &str,
        ask: impl FnOnce(&mut Client) -> Result<SinkKeys, Trouble>,
    ) -> Result<(), String> {
        let keys = ask(&mut self.client).map_err(|trouble| trouble.to_string())?;
        if keys.digest() != digest || !keys.cosigned.starts_with(&SinkKeys::note(digest)) {
            return Err("the sink's keys are not those that it announced".to_owned());
        }
        let cosigned = self.witnesses.newest().check(&keys.cosigned);
        cosigned.map_err(|_| "the sink's keys are not cosigned by the one that it had")?;
        let witnesses = Witnesses::parse(&keys.witnesses).map_err(|error| error.to_string())?;
        let identity = read(&self.directory, IDENTITY).map_err(|error| error.to_string())?;
        let client = connection(&self.sink, &keys.ca, &identity)?;
        // Either of them is good beside the other as it was.
        write(&self.directory.join(WITNESS), &keys.witnesses)?;
        write(&self.directory.join(CA), &keys.ca)?;
        self.authority = End::of_pem(Whose::Authority, &keys.ca);
        (self.ca, self.witnesses, self.client) = (keys.ca, witnesses, client);
        Ok(())
    }

    /// Takes another key and has the sink certify it; one that announces its keys is told which of
    /// them this host knows.
    pub(super) fn renew(
        &mut self,
        announces_keys: bool,
        ask: impl FnOnce(&mut Client, Vec<u8>) -> Result<Enrolled, Trouble>,
    ) -> Result<(), String> {
        let (key, point) = authority::host_key().map_err(|error| error.to_string())?;
        let keys = announces_keys.then(|| self.digest());
        let request = Renew { public_key: BASE64.encode(point), keys };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let answer = ask(&mut self.client, request).map_err(|trouble| trouble.to_string())?;
        let identity = answer.certificate + &key;
        let client = connection(&self.sink, &self.ca, &identity)?;
        write(&self.directory.join(IDENTITY), &identity)?;
        (self.client, self.own) = (client, End::of_pem(Whose::Host, &identity));
        Ok(())
    }
}

fn connection(sink: &str, ca: &str, identity: &str) -> Result<Client, String> {
    Client::new(sink, ca, Some((identity, identity)))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    files::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
