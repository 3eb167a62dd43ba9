//! The thread that owns the store: it takes what waits, has all of it made durable at once, and
//! answers then. So what one host sends costs the others no sync of their own.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper::{StatusCode, body::Bytes};
use tokio::sync::{mpsc, oneshot};

use super::{
    alarm,
    answer::Answer,
    authority::{Authority, is_old},
    counts::Counts,
    notice::{Notice, Tell, Weight},
    pack::{self, Unpacked},
    refusals::Refusals,
    store::{
        AppendError, Arrival, Certificate, EnrollError, Host, ITSELF, SILENT, Store, StoreError,
    },
    validity,
    wire::{Appended, Enroll, Enrolled, IDLE_S, Renew, State},
};
use crate::audit::{
    checkpoint::Verifier,
    keys::Keys,
    tree::{Frontier, Hash},
};

/// Calls that wait.
pub(super) const CALLS_MAX: usize = 256;
/// Calls that are made durable at once.
const GROUP_MAX: usize = 64;
/// A host that is not heard of for so long is silent, in seconds: it missed two turns and a half.
const SILENT_S: u64 = IDLE_S * 5 / 2;
/// How often findings that are long over are deleted, in seconds.
const FORGET_S: u64 = 3_600;

/// The word for a certificate of the sink that ends.
const CERTIFICATE: &str = "certificate";

pub(super) type Fingerprint = Option<[u8; 32]>;

/// What the thread is asked, or told.
pub(super) enum Call {
    /// A request.
    Ask { who: Fingerprint, what: Ask, reply: oneshot::Sender<Answer> },
    /// Whose certificate this is; `None` if it is nobody's.
    Name { who: [u8; 32], reply: oneshot::Sender<Result<Option<String>, Answer>> },
    /// Whether a batch is one that is stored; its answer if it is.
    Again { who: Fingerprint, batch: Again, reply: oneshot::Sender<Option<Answer>> },
    /// Something was refused, for the first time in a while.
    Refused(Notice),
    /// It is time to look who is silent.
    Look,
}

pub(super) enum Ask {
    Enroll(Enroll),
    Renew(Renew),
    State,
    Keys,
    /// A batch, and its bytes.
    Append(Unpacked, Bytes),
}

/// A batch as it lies, which may be one from before.
pub(super) struct Again {
    pub(super) first: u64,
    pub(super) note: String,
    /// Its records, compressed.
    pub(super) frame: Bytes,
    /// Bytes of all of it.
    pub(super) bytes: usize,
}

impl Call {
    pub(super) const fn look() -> Self {
        Self::Look
    }
}

/// Who showed a certificate.
struct Known {
    host: Host,
    /// Whether it is time for another one.
    is_old: bool,
    /// Whether the authority that issued it is being replaced.
    is_former: bool,
}

impl Known {
    const fn should_renew(&self) -> bool {
        self.is_old || self.is_former
    }
}

type Waiting = Vec<(oneshot::Sender<Answer>, Answer)>;

/// The owner of the store.
pub(super) struct Keeper {
    store: Store,
    authority: Arc<Authority>,
    tell: Tell,
    /// What is told once it is durable.
    notices: Vec<Notice>,
    /// Hosts as they are in the store, with the group that is being made durable.
    hosts: HashMap<i64, Host>,
    /// Certificates that were shown.
    certificates: HashMap<[u8; 32], Certificate>,
    sessions: HashMap<i64, u64>,
    refusals: Arc<Refusals>,
    /// Before this nobody could be heard, in seconds since 1970.
    started_s: u64,
    /// When findings that are long over were deleted, in seconds since 1970.
    forgot_s: u64,
    /// When it was said that certificates end, in seconds since 1970.
    warned_s: u64,
    counts: Arc<Counts>,
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        authority: Arc<Authority>,
        tell: Tell,
        counts: Arc<Counts>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            store,
            authority,
            tell,
            notices: Vec::new(),
            hosts: HashMap::new(),
            certificates: HashMap::new(),
            sessions: HashMap::new(),
            refusals,
            started_s: now_s(),
            forgot_s: 0,
            warned_s: 0,
            counts,
        }
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Call>) {
        while let Some(first) = queue.blocking_recv() {
            let more = std::iter::from_fn(|| queue.try_recv().ok()).take(GROUP_MAX - 1);
            let group: Vec<Call> = std::iter::once(first).chain(more).collect();
            self.group(group);
        }
    }

    fn group(&mut self, calls: Vec<Call>) {
        let mut appends = Vec::new();
        for call in calls {
            match call {
                // Who has gone asks again.
                Call::Ask { reply, .. } if reply.is_closed() => {}
                Call::Ask { who, what: Ask::Append(batch, body), reply } => {
                    appends.push((who, batch, body, reply));
                }
                Call::Ask { who, what, reply } => {
                    let answer = self.handle(who, what).unwrap_or_else(|error| failed(&error));
                    reply.send(answer).ok();
                }
                Call::Name { who, reply } => {
                    let host =
                        self.known(Some(who)).map(|known| known.map(|known| known.host.name));
                    reply.send(host.map_err(|error| failed(&error))).ok();
                }
                Call::Again { who, batch, reply } => {
                    // What cannot be looked up is judged, which fails for the same reason.
                    reply.send(self.again(who, &batch).unwrap_or_default()).ok();
                }
                Call::Refused(notice) => self.notices.push(notice),
                Call::Look => self.look(now_s()).unwrap_or_else(|error| drop(failed(&error))),
            }
        }
        self.tell_all();
        if appends.is_empty() {
            return;
        }
        let (mut waiting, begin) = (Waiting::new(), Instant::now());
        if let Err(error) = self.append_all(appends, &mut waiting) {
            self.store.roll_back();
            self.counts.store_failed();
            // What is remembered may be ahead of what is stored.
            self.hosts.clear();
            self.notices.clear();
            for (_, answer) in &mut waiting {
                *answer = failed(&error);
            }
        }
        self.counts.durable(begin.elapsed());
        self.tell_all();
        for (reply, answer) in waiting {
            reply.send(answer).ok();
        }
    }

    fn tell_all(&mut self) {
        for notice in self.notices.drain(..) {
            (self.tell)(notice);
        }
    }

    fn append_all(
        &mut self,
        appends: Vec<(Fingerprint, Unpacked, Bytes, oneshot::Sender<Answer>)>,
        waiting: &mut Waiting,
    ) -> Result<(), StoreError> {
        let mut outcome = self.store.begin();
        for (who, batch, body, reply) in appends {
            let answer = match &outcome {
                Ok(()) => self.append(who, &batch, &body),
                Err(_) => Ok(Answer::unavailable()),
            };
            let answer = answer.unwrap_or_else(|error| {
                outcome = Err(error);
                Answer::unavailable()
            });
            waiting.push((reply, answer));
        }
        outcome?;
        self.store.commit()
    }

    fn handle(&mut self, who: Fingerprint, what: Ask) -> Result<Answer, StoreError> {
        match what {
            Ask::Enroll(request) => Ok(self.enroll(&request)),
            Ask::Renew(request) => self.renew(who, &request),
            Ask::State => self.state(who),
            Ask::Keys => Ok(match self.known(who)? {
                Some(_) => Answer::of(self.authority.keys()),
                None => Answer::certificate(),
            }),
            Ask::Append(..) => Ok(Answer::unavailable()),
        }
    }

    /// The host of a certificate, and whether it should get another one: for its age, or because
    /// another authority has to have issued it.
    fn known(&mut self, who: Fingerprint) -> Result<Option<Known>, StoreError> {
        let Some(who) = who else {
            return Ok(None);
        };
        if let Some(certificate) = self.certificates.get(&who)
            && let Some(host) = self.hosts.get(&certificate.host)
        {
            return Ok(Some(self.knows(host.clone(), *certificate)));
        }
        let Some((host, certificate)) = self.store.host_of(&who)? else {
            return Ok(None);
        };
        self.certificates.insert(who, certificate);
        let host = self.hosts.entry(host.id).or_insert(host).clone();
        Ok(Some(self.knows(host, certificate)))
    }

    fn knows(&self, host: Host, certificate: Certificate) -> Known {
        let Certificate { issued_s, authority, .. } = certificate;
        let is_former = self.authority.next().is_some_and(|next| authority != Some(*next));
        Known { host, is_old: is_old(issued_s, now_s()), is_former }
    }

    fn state(&mut self, who: Fingerprint) -> Result<Answer, StoreError> {
        let Some(known) = self.known(who)? else {
            return Ok(Answer::certificate());
        };
        let session = self.sessions.entry(known.host.id).or_default();
        *session += 1;
        Ok(Answer::of(&State {
            size: known.host.size,
            session: *session,
            renew: known.should_renew(),
            beside: true,
            keys: self.authority.digest().to_owned(),
        }))
    }

    fn enroll(&mut self, request: &Enroll) -> Answer {
        let Enroll { secret, log_key, rotations, public_key } = request;
        let Ok(key) = Verifier::parse(log_key) else {
            return Answer::malformed(&"log_key is no key in signed-note form");
        };
        let keys = match Keys::parse(&key, rotations) {
            Ok(keys) => keys,
            Err(error) => return Answer::malformed(&error),
        };
        let Ok(point) = BASE64.decode(public_key) else {
            return Answer::malformed(&"public_key is not base64");
        };
        let authority = Arc::clone(&self.authority);
        let issue = |host: &str| authority.issue(host, &point);
        let issued = self.store.enroll(secret, &keys, now_s(), issue);
        self.issued(issued)
    }

    fn renew(&mut self, who: Fingerprint, request: &Renew) -> Result<Answer, StoreError> {
        let Some(Known { host, is_old, .. }) = self.known(who)? else {
            return Ok(Answer::certificate());
        };
        let Renew { public_key, keys } = request;
        let Ok(point) = BASE64.decode(public_key) else {
            return Ok(Answer::malformed(&"public_key is not base64"));
        };
        let authority = Arc::clone(&self.authority);
        let trusts_next = keys.as_deref() == Some(authority.digest());
        let next = authority.next().filter(|_| trusts_next);
        if authority.next().is_some() && next.is_none() && !is_old {
            let error = "the sink's keys are being replaced, and the host does not say that it \
                         knows those that come; a governd of the sink's version does";
            return Ok(Answer::refused(StatusCode::CONFLICT, "keys", &error));
        }
        let issue = |host: &str| match next {
            Some(_) => authority.issue_next(host, &point),
            None => authority.issue(host, &point),
        };
        let issued = self.store.renew(&host, now_s(), next, issue);
        Ok(self.issued(issued))
    }

    fn issued(&self, issued: Result<String, EnrollError>) -> Answer {
        match issued {
            Ok(certificate) => {
                let witness = self.authority.cosigners().witnesses().newest().to_string();
                Answer::of(&Enrolled { certificate, witness })
            }
            Err(EnrollError::Store(error)) => failed(&error),
            Err(EnrollError::Authority(error)) => Answer::malformed(&error),
            Err(error @ EnrollError::Token) => {
                Answer::refused(StatusCode::FORBIDDEN, "token", &error)
            }
            Err(error) => Answer::refused(StatusCode::CONFLICT, "host", &error),
        }
    }

    fn append(
        &mut self,
        who: Fingerprint,
        batch: &Unpacked,
        body: &Bytes,
    ) -> Result<Answer, StoreError> {
        let Some(known) = self.known(who)? else {
            return Ok(Answer::certificate());
        };
        let (renew, mut host) = (known.should_renew(), known.host);
        let Unpacked { head, lines, leaves, frame, beside } = batch;
        let before = match head.before.as_deref().map(|peaks| tree(head.first, peaks)) {
            Some(None) => return Ok(Answer::malformed(&"before is no tree of that size")),
            known => known.flatten(),
        };
        let session = head.session.as_ref();
        if leaves.is_empty() && (session.is_none() || session != self.sessions.get(&host.id)) {
            let error = "this is not the last session of the host; ask for the state";
            return Ok(Answer::refused(StatusCode::CONFLICT, "session", &error));
        }
        let arrival = Arrival {
            first: head.first,
            lines,
            frame: body.get(frame.clone()).unwrap_or_default(),
            leaves,
            note: &head.checkpoint,
            before: before.as_ref(),
            beside,
        };
        let (is_new, first, size) = (host.size == 0, host.first, host.size);
        match self.store.append(&mut host, arrival, self.authority.cosigners(), now_s()) {
            Ok(receipt) => {
                if is_new && host.first > first {
                    let detail = format!("its log began with record {} when it came", host.first);
                    self.say(Weight::News, "late", &host.name, detail);
                }
                let known = usize::try_from(size.saturating_sub(head.first)).unwrap_or(usize::MAX);
                for line in pack::each(lines).skip(known) {
                    if let Some((kind, title)) = alarm::of(line) {
                        self.alarm(&host, &kind, &title)?;
                    }
                }
                self.counts.stored(host.size.saturating_sub(size), body.len());
                self.heard(&host)?;
                self.hosts.insert(host.id, host);
                let keys = self.authority.digest().to_owned();
                Ok(Answer::of(&Appended { receipt, renew, keys }))
            }
            Err(AppendError::Store(error)) => Err(error),
            Err(AppendError::Refused(refusal)) => {
                if refusal.is_alarming() {
                    self.alarm(&host, refusal.word(), &refusal.to_string())?;
                }
                Ok(Answer::unfit(&refusal))
            }
        }
    }

    /// A host that repeats what is stored is answered as it was, unless it is to be noted that it
    /// is heard of: this is no news then.
    fn again(&mut self, who: Fingerprint, batch: &Again) -> Result<Option<Answer>, StoreError> {
        let Some(known) = self.known(who)? else {
            return Ok(None);
        };
        let (Again { first, note, frame, bytes }, now_s) = (batch, now_s());
        let is_it =
            known.host.was_heard(now_s) && self.store.has(&known.host, *first, note, frame)?;
        if !is_it {
            return Ok(None);
        }
        self.counts.stored(0, *bytes);
        let receipt = self.authority.cosigners().cosign(note, now_s);
        let keys = self.authority.digest().to_owned();
        Ok(Some(Answer::of(&Appended { receipt, renew: known.should_renew(), keys })))
    }

    /// A host that was silent is not any more.
    fn heard(&mut self, host: &Host) -> Result<(), StoreError> {
        if self.store.end(host, SILENT, host.seen_s)? {
            let detail = "it is heard of again".to_owned();
            self.say(Weight::News, "heard", &host.name, detail);
        }
        Ok(())
    }

    fn alarm(&mut self, host: &Host, what: &str, detail: &str) -> Result<(), StoreError> {
        if self.store.find(host, what, detail, now_s())? {
            self.say(Weight::Alarm, what, &host.name, detail.to_owned());
        }
        Ok(())
    }

    fn say(&mut self, weight: Weight, what: &str, who: &str, detail: String) {
        let (what, who) = (what.to_owned(), who.to_owned());
        self.notices.push(Notice { what, who, detail, count: 1, weight });
    }

    /// Who is silent, and what was refused meanwhile.
    fn look(&mut self, now_s: u64) -> Result<(), StoreError> {
        self.notices.extend(self.refusals.take());
        for (who, what, detail) in self.store.told()? {
            let weight = if who == ITSELF { Weight::Own } else { Weight::News };
            self.say(weight, &what, &who, detail);
        }
        for host in self.store.hosts()? {
            let since = host.seen_s.max(self.started_s);
            if now_s.saturating_sub(since) >= SILENT_S {
                let detail = format!("nothing is heard of it since {}", time(host.seen_s));
                self.alarm(&host, SILENT, &detail)?;
            }
        }
        if now_s.saturating_sub(self.warned_s) >= validity::AGAIN_S {
            self.warned_s = now_s;
            let authority = Arc::clone(&self.authority);
            for warning in authority.ends().iter().filter_map(|end| end.warning(now_s)) {
                self.say(Weight::Soon, CERTIFICATE, ITSELF, warning);
            }
        }
        if now_s.saturating_sub(self.forgot_s) >= FORGET_S {
            self.forgot_s = now_s;
            let count = self.store.forget_findings(now_s)?;
            if count > 0 {
                tracing::info!(count, "findings that are over for half a year are deleted");
            }
        }
        Ok(())
    }
}

fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "ever".to_owned(), |time| time.to_string())
}

fn tree(size: u64, peaks: &[String]) -> Option<Frontier> {
    let peak = |text: &String| Hash::try_from(BASE64.decode(text).ok()?).ok();
    Frontier::new(size, peaks.iter().map(peak).collect::<Option<_>>()?)
}

fn failed(error: &StoreError) -> Answer {
    tracing::error!(%error, "the sink's store failed");
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, "store", error)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::{audit::checkpoint::Signer, sink::authority};

    fn keeper() -> (tempfile::TempDir, Keeper, Receiver<Notice>) {
        let directory = tempfile::tempdir().unwrap();
        authority::create(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let key = Signer::new("governd/host", [1; 32]).unwrap();
        store.add_token("secret", "web-1", u64::from(u32::MAX)).unwrap();
        store.enroll("secret", &key.verifier().clone().into(), 1, |_| Ok(((), [7; 32]))).unwrap();
        let authority = Arc::new(Authority::open(directory.path()).unwrap());
        let (told, notices) = channel();
        let tell: Tell = Arc::new(move |notice| told.send(notice).unwrap());
        let keeper = Keeper::new(store, authority, tell, Arc::default(), Arc::default());
        (directory, keeper, notices)
    }

    #[test]
    fn it_is_said_once_a_day_that_a_certificate_ends() {
        let (directory, mut keeper, notices) = keeper();
        let names = ["127.0.0.1".to_owned()];
        authority::replace_server_for(directory.path(), &names, 20).unwrap();
        keeper.authority = Arc::new(Authority::open(directory.path()).unwrap());
        let now_s = now_s();
        for after_s in [0, 10, validity::AGAIN_S - 1, validity::AGAIN_S, validity::AGAIN_S + 9] {
            keeper.look(now_s + after_s).unwrap();
        }
        keeper.tell_all();
        let told: Vec<Notice> =
            notices.try_iter().filter(|notice| notice.weight == Weight::Soon).collect();
        let said: Vec<&str> = told.iter().map(|notice| notice.detail.as_str()).collect();
        let [first, second] = said.as_slice() else { panic!("{said:?}") };
        assert!(first.starts_with("the sink's certificate ends in 19 days, at "), "{first}");
        assert!(second.starts_with("the sink's certificate ends in 18 days, at "), "{second}");
        // One that is made anew is none of those.
        authority::replace_server(directory.path(), &names).unwrap();
        keeper.authority = Arc::new(Authority::open(directory.path()).unwrap());
        keeper.look(now_s + 2 * validity::AGAIN_S).unwrap();
        keeper.tell_all();
        assert!(notices.try_iter().all(|notice| notice.weight != Weight::Soon));
    }

    #[test]
    fn a_host_is_silent_once_and_not_for_the_time_when_nobody_listened() {
        let (_directory, mut keeper, notices) = keeper();
        let started = keeper.started_s;
        keeper.look(started + SILENT_S - 1).unwrap();
        keeper.tell_all();
        assert!(notices.try_recv().is_err());
        keeper.look(started + SILENT_S).unwrap();
        keeper.look(started + SILENT_S + 10).unwrap();
        keeper.tell_all();
        let notice = notices.try_recv().unwrap();
        assert_eq!((notice.weight, notice.what.as_str()), (Weight::Alarm, SILENT));
        assert_eq!((notice.who.as_str(), notice.count), ("web-1", 1));
        assert!(notice.detail.contains("1970-01-01T00:00:01Z"), "{}", notice.detail);
        assert!(notices.try_recv().is_err());
        assert_eq!(keeper.store.findings().unwrap()[0].count, 2);
    }
}
