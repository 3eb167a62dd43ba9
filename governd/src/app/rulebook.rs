//! The policy: read, compiled for this host, and compiled again when documents or host change.

use std::{path::Path, sync::Arc};

use governd_common::{limits, table::settings_flag, verdict::Mode};

use super::{
    asked::{Asked, Asking},
    bundle::{self, BundleError},
    lifecycle::Standing,
    sources::{Fingerprint, SourceError},
};
use crate::{
    audit::checkpoint::Verifier,
    core::modes::Modes,
    policy::{
        self, Documents,
        compile::{Endpoint, Surroundings, Under},
        diagnostic::{Code, Diagnostics},
        host::Host,
        ids::Ids,
        image::Compiled,
        lifecycle::Lapse,
        unrecorded,
        value::Target,
    },
    settings::PolicySource,
};

/// Numbers that may be given before unused ones are taken away: as many as two of the largest
/// policies have, the one in force and the next.
const IDS_KEPT: usize = limits::IDS_MAX as usize / 4 * 3;

/// Why there is no (new) policy.
#[derive(Debug, thiserror::Error)]
pub enum RulebookError {
    /// The files cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// They are not signed as this host requires it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The documents are invalid.
    #[error("{0}")]
    Invalid(Diagnostics),
}

impl RulebookError {
    /// The reasons, one line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Source(error) => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                vec![format!("{error}{}", cause.unwrap_or_default())]
            }
            Self::Bundle(error) => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                vec![format!("{error}{}", cause.unwrap_or_default())]
            }
            Self::Invalid(diagnostics) => {
                diagnostics.to_string().lines().map(str::to_owned).collect()
            }
        }
    }
}

/// What the catalogue tells a policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// AI endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Ports on which nothing but local model servers listen.
    pub model_ports: Vec<u16>,
}

/// Where the policy comes from, and what it was compiled with.
#[derive(Debug)]
pub struct Rulebook {
    source: PolicySource,
    /// The key that has to have signed it, if one has to.
    key: Option<Verifier>,
    mode: Option<Mode>,
    known: Known,
    ids: Ids,
    seen: Fingerprint,
    asked: Asked,
    /// The catalogue changed since the latest reading.
    knows_other: bool,
    files: Vec<String>,
    /// Those of the latest reading that was valid.
    documents: Option<Documents>,
    granted: Vec<(Arc<str>, Target)>,
    held: Vec<Arc<str>>,
    modes: Modes,
    /// The time and what has drifted, as they were last told.
    standing: Standing,
    /// Approvals that did not hold at the latest compilation.
    lapses: Vec<Lapse>,
    /// The log cannot be written.
    is_unrecorded: bool,
}

impl Rulebook {
    /// A policy that has not been read yet. `mode` overrides that of every document.
    pub fn new(source: PolicySource, mode: Option<Mode>, known: Known) -> Self {
        Self {
            source,
            key: None,
            mode,
            known,
            ids: Ids::default(),
            seen: Fingerprint::default(),
            asked: Asked::default(),
            knows_other: false,
            files: Vec::new(),
            documents: None,
            granted: Vec::new(),
            held: Vec::new(),
            modes: Modes::default(),
            standing: Standing::default(),
            lapses: Vec::new(),
            is_unrecorded: false,
        }
    }

    /// Takes what another catalogue says, for the next reading.
    pub fn set_known(&mut self, known: Known) {
        self.knows_other = self.knows_other || self.known != known;
        self.known = known;
    }

    /// Where the policy comes from, for people.
    pub fn describe(&self) -> String {
        self.source.describe()
    }

    /// Refuses what this key has not signed. The built-in policy needs no signature.
    pub fn requiring(self, key: Option<Verifier>) -> Self {
        Self { key, ..self }
    }

    /// With numbers that are given already.
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Numbers that are given.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Takes numbers of sets away that neither policy has, if so many are given that the next
    /// policy could find no room. Gives the texts that had them.
    pub fn forget_sets(&mut self, [before, now]: [&Compiled; 2]) -> Vec<Arc<str>> {
        if self.ids.count() <= IDS_KEPT {
            return Vec::new();
        }
        self.ids.forget_sets(|set| before.sets.contains_key(&set) || now.sets.contains_key(&set))
    }

    /// Files of the latest reading.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Reads and compiles.
    ///
    /// # Errors
    /// The files cannot be read, or the documents are invalid.
    pub fn compile<H: Host>(&mut self, host: &H) -> Result<Arc<Compiled>, RulebookError> {
        self.seen = self.source.fingerprint();
        self.knows_other = false;
        // Documents that are not understood ask nothing: another answer of the host is no reason to
        // refuse them once more.
        self.asked = Asked::default();
        let sources = self.source.read()?;
        self.files = sources.iter().map(|(path, _)| path.clone()).collect();
        if let (Some(key), PolicySource::Path(path)) = (&self.key, &self.source) {
            bundle::verify(path, &sources, key)?;
        }
        let documents = policy::load(&sources).map_err(RulebookError::Invalid)?;
        let compiled = self.compile_documents(&documents, host)?;
        for warning in compiled.warnings.iter().filter(|warning| warning.code == Code::Limit) {
            tracing::warn!(%warning, "the tables have no place for all that the policy leads to");
        }
        self.documents = Some(documents);
        Ok(compiled)
    }

    /// Destinations that agents were granted; they count from the next compilation on.
    pub fn set_granted(&mut self, granted: Vec<(Arc<str>, Target)>) {
        self.granted = granted;
    }

    /// Agents that nobody registered and somebody quarantined; they count from the next
    /// compilation on.
    pub fn set_held(&mut self, held: Vec<Arc<str>>) {
        self.held = held;
    }

    /// Modes that people set; they count from the next compilation on.
    pub fn set_modes(&mut self, modes: Modes) {
        self.modes = modes;
    }

    /// Whether the log cannot be written, as it was last told.
    pub fn is_unrecorded(&self) -> bool {
        self.is_unrecorded
    }

    /// Tells whether the log cannot be written; counts from the next compilation on.
    pub fn set_unrecorded(&mut self, is_unrecorded: bool) {
        self.is_unrecorded = is_unrecorded;
    }

    /// Whether anything may be stopped at all: not where a mode for everything is to monitor.
    pub fn may_stop(&self) -> bool {
        self.mode != Some(Mode::Monitor)
    }

    /// Whether the mode is one for everything, whatever documents and people say.
    pub fn has_fixed_mode(&self) -> bool {
        self.mode.is_some()
    }

    /// What decides whether approvals hold; counts from the next compilation on.
    pub fn set_standing(&mut self, standing: &Standing) {
        if self.standing != *standing {
            self.standing = standing.clone();
        }
    }

    /// Whether other approvals hold than at the latest compilation.
    pub fn holds_other(&self) -> bool {
        let documents = self.documents.as_ref();
        documents.is_some_and(|known| self.standing.lapses(&known.policy) != self.lapses)
    }

    /// Compiles once more what was read last and was valid, whatever the files say now. `None` if
    /// nothing ever was.
    ///
    /// # Errors
    /// The host has changed, and the documents are not valid for it any more.
    pub fn recompile<H: Host>(&mut self, host: &H) -> Result<Option<Arc<Compiled>>, RulebookError> {
        let Some(documents) = self.documents.take() else { return Ok(None) };
        let compiled = self.compile_documents(&documents, host);
        self.documents = Some(documents);
        compiled.map(Some)
    }

    fn compile_documents<H: Host>(
        &mut self,
        documents: &Documents,
        host: &H,
    ) -> Result<Arc<Compiled>, RulebookError> {
        let asking = Asking::new(host);
        let around = Surroundings {
            host: &asking,
            endpoints: &self.known.endpoints,
            model_ports: &self.known.model_ports,
            mode: self.mode,
        };
        let lapses = self.standing.lapses(&documents.policy);
        let under = Under { granted: &self.granted, lapses: &lapses, held: &self.held };
        let compiled = documents.compile_under(&around, &mut self.ids, &under);
        self.asked = asking.into_asked();
        self.lapses = lapses;
        let mut compiled = compiled.map_err(RulebookError::Invalid)?;
        if !self.has_fixed_mode() {
            self.modes.apply(&mut compiled);
        }
        if self.is_unrecorded && compiled.denies_unrecorded_ai && self.may_stop() {
            unrecorded::deny_ai(&mut compiled);
        }
        // Discovery looks at whatever is executed, registered or not.
        compiled.image.flags |= settings_flag::REPORT_ALL_EXECS;
        Ok(Arc::new(compiled))
    }

    /// Whether the documents, the catalogue or the answers of the host differ from those of the
    /// latest reading.
    pub fn is_stale(&self, host: &impl Host) -> bool {
        self.knows_other || self.source.fingerprint() != self.seen || self.asked.is_stale(host)
    }

    /// Whether some agent is recognised by its container.
    pub fn names_containers(&self) -> bool {
        self.asked.names_containers()
    }

    /// Whether it counts which containers nobody told of.
    pub fn asks_unclassified(&self) -> bool {
        self.asked.asks_unclassified()
    }

    /// Whether some agent is recognised by an executable at this path.
    pub fn names_executable(&self, path: &Path) -> bool {
        self.asked.names_executable(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{app::asked::tests::Fixed, audit::checkpoint::Signer};

    const AGENT: &str = "\
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /opt/bot}]
  egress: {rules: [{allow: [a.example]}]}
";

    #[test]
    fn a_change_of_host_or_documents_is_stale_and_what_is_refused_is_refused_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bot.yaml");
        fs::write(&file, AGENT).unwrap();
        let mut rulebook = Rulebook::new(PolicySource::Path(file.clone()), None, Known::default());
        rulebook.compile(&Fixed(1)).unwrap();
        assert!(rulebook.names_executable(Path::new("/opt/bot")));
        assert!(!rulebook.is_stale(&Fixed(1)));
        assert!(rulebook.is_stale(&Fixed(2)));
        fs::write(&file, AGENT.replace("egress", "egres")).unwrap();
        assert!(rulebook.is_stale(&Fixed(1)));
        rulebook.compile(&Fixed(1)).unwrap_err();
        assert!(!rulebook.is_stale(&Fixed(2)));
    }

    #[test]
    fn documents_that_do_not_compile_for_the_host_are_there_when_they_do_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bot.yaml");
        let hosts = "---\napiVersion: governd.dev/v1\nkind: HostPolicy\nspec: {mode: enforce}\n";
        let two = ["a", "b"].map(|name| format!("{hosts}metadata: {{name: {name}}}\n"));
        fs::write(&file, AGENT).unwrap();
        let mut rulebook = Rulebook::new(PolicySource::Path(file.clone()), None, Known::default());
        rulebook.compile(&Fixed(1)).unwrap();
        // Documents that contradict each other on a host never were in force.
        fs::write(&file, format!("{AGENT}{}", two.concat())).unwrap();
        rulebook.compile(&Fixed(1)).unwrap_err();
        assert_eq!(rulebook.recompile(&Fixed(1)).unwrap().unwrap().agents_registered(), 1);
        // Those that were, and do not compile now, are not lost by it.
        let documents = policy::load(&rulebook.source.read().unwrap()).unwrap();
        rulebook.documents = Some(documents);
        rulebook.recompile(&Fixed(1)).unwrap_err();
        rulebook.recompile(&Fixed(1)).unwrap_err();
    }

    #[test]
    fn what_the_required_key_has_not_signed_is_refused_until_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (policy, file) = (dir.path(), dir.path().join("bot.yaml"));
        fs::write(&file, AGENT).unwrap();
        let signer = Signer::new("acme/policy", [7; 32]).unwrap();
        let sign = || {
            let sources = PolicySource::Path(policy.to_path_buf()).read().unwrap();
            fs::write(bundle::signature_path(policy), bundle::sign(&sources, &signer)).unwrap();
        };
        let source = PolicySource::Path(policy.to_path_buf());
        let key = Some(signer.verifier().clone());
        let mut rulebook = Rulebook::new(source, None, Known::default()).requiring(key);
        assert!(matches!(rulebook.compile(&Fixed(1)), Err(RulebookError::Bundle(_))));
        sign();
        assert!(rulebook.is_stale(&Fixed(1)));
        rulebook.compile(&Fixed(1)).unwrap();
        fs::write(&file, AGENT.replace("a.example", "other.example")).unwrap();
        assert!(rulebook.is_stale(&Fixed(1)));
        assert!(matches!(rulebook.compile(&Fixed(1)), Err(RulebookError::Bundle(_))));
        assert!(!rulebook.is_stale(&Fixed(1)));
    }
}
