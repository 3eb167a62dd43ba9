//! The object as the kernel has it: its maps, and its programs.
//!
//! It is read once. Its maps are made, or opened where they are pinned; then programs are given to
//! the verifier, several at a time, for that is most of what a start takes.

use std::{
    collections::{HashMap, HashSet},
    mem,
    num::NonZero,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use aya::{
    EbpfError,
    maps::{Map, MapData, MapError},
};
use aya_obj::{EbpfSectionKind, Object};

use super::{
    Early, KernelError,
    load::is_permission,
    program::{Code, Kind},
    sys,
};

/// A program that the kernel refused, and why.
pub(super) type Refused = (&'static str, KernelError);

/// Threads that give programs to the verifier at a time.
const THREADS_MAX: usize = 4;

/// How an object is to be loaded.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    /// Values of variables that programs take for constants.
    pub(crate) globals: HashMap<&'a str, &'a [u8]>,
    /// Entries of maps that are not to have as many as the object says.
    pub(crate) entries: HashMap<&'a str, u32>,
    /// Where maps of these names are pinned, or are to be.
    pub(crate) pins: Option<(&'a Path, &'a [&'a str])>,
}

/// What was made of an object.
pub(crate) struct Collection {
    maps: HashMap<String, Map>,
    /// The object's type information.
    types: Option<OwnedFd>,
    /// Programs that are not loaded.
    codes: HashMap<String, Code>,
    programs: HashMap<&'static str, OwnedFd>,
}

impl Collection {
    /// Makes or opens the maps, and prepares the programs.
    pub(crate) fn make(object: &[u8], wanted: &Wanted<'_>) -> Result<Self, KernelError> {
        let mut object = Object::parse(object).map_err(|error| object_error(error.into()))?;
        let globals = wanted.globals.iter().map(|(name, bytes)| (*name, (*bytes, true)));
        let patched = object.patch_map_data(globals.collect());
        patched.map_err(|error| object_error(error.into()))?;
        let types = load_types(&mut object)?;
        let definitions = mem::take(&mut object.maps);
        let mut maps = HashMap::new();
        let mut descriptors: HashMap<&str, RawFd> = HashMap::new();
        for (name, definition) in &definitions {
            let types = types.as_ref().map(|types| types.as_fd());
            let data = make_map(name, definition, wanted, types);
            let data = data.map_err(|error| object_error(error.into()))?;
            descriptors.insert(name, data.fd().as_fd().as_raw_fd());
            let map = Map::from_map_data(data).map_err(|error| object_error(error.into()))?;
            maps.insert(name.clone(), map);
        }
        let sections: HashSet<usize> =
            object.functions.keys().map(|(section, _)| *section).collect();
        let made = definitions.iter().filter_map(|(name, definition)| {
            Some((name.as_str(), *descriptors.get(name.as_str())?, definition))
        });
        let linked = object.relocate_maps(made, &sections);
        let linked = linked.and_then(|()| object.relocate_calls(&sections));
        linked.map_err(|error| object_error(error.into()))?;
        let Object { programs, mut functions, .. } = object;
        let codes = programs.into_iter().filter_map(|(name, program)| {
            let function = functions.remove(&program.function_key())?;
            Some((name, Code::of(program, function)))
        });
        Ok(Self { maps, types, codes: codes.collect(), programs: HashMap::new() })
    }

    /// A map, if nobody has taken it.
    pub(crate) fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// Takes a map.
    pub(crate) fn take_map(&mut self, name: &str) -> Option<Map> {
        self.maps.remove(name)
    }

    /// A program that is loaded.
    pub(crate) fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, KernelError> {
        self.programs.get(name).map(OwnedFd::as_fd).ok_or(KernelError::Missing(name))
    }

    /// Gives programs to the verifier; those without a kind have the one that the object says.
    /// Gives the ones that it refused, with its words.
    pub(crate) fn load(
        &mut self,
        wanted: &[(&'static str, Option<Kind>)],
        early: &Early,
    ) -> Vec<Refused> {
        let mut order = wanted.to_vec();
        // Those that are waited for begin, then who has most to do.
        order.sort_by_key(|(name, _)| {
            let bytes = self.codes.get(*name).map_or(0, Code::bytes);
            (!early.awaits(name), std::cmp::Reverse(bytes))
        });
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((name, kind)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let loaded = self.load_one(name, *kind);
                if let Ok(program) = &loaded {
                    early.program(name, program.as_fd());
                }
                done.push((*name, loaded));
            }
            done
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
        let done = thread::scope(|scope| {
            // One of them is this one; where the system gives none, it is alone.
            let others: Vec<_> = (1..threads)
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut done = work();
            for other in others {
                done.extend(other.join().unwrap_or_default());
            }
            done
        });
        let mut refused = Vec::new();
        for (name, loaded) in done {
            match loaded {
                Ok(program) => {
                    self.programs.insert(name, program);
                    self.codes.remove(name);
                }
                Err(error) => refused.push((name, error)),
            }
        }
        refused
    }

    /// Keeps nothing that only loading needs.
    pub(crate) fn forget_codes(&mut self) {
        self.codes = HashMap::new();
        self.types = None;
    }

    fn load_one(&self, name: &'static str, kind: Option<Kind>) -> Result<OwnedFd, KernelError> {
        let code = self.codes.get(name).ok_or(KernelError::Missing(name))?;
        code.load(name, kind, self.types.as_ref().map(OwnedFd::as_fd))
    }

    /// Names of the maps, and of the programs.
    #[cfg(test)]
    pub(crate) fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let names = |name| String::as_str(name);
        (self.maps.keys().map(names).collect(), self.codes.keys().map(names).collect())
    }
}

/// Makes a map, or opens it where it is pinned.
fn make_map(
    name: &str,
    definition: &aya_obj::Map,
    wanted: &Wanted<'_>,
    types: Option<BorrowedFd<'_>>,
) -> Result<MapData, MapError> {
    let pin = wanted.pins.filter(|(_, names)| names.contains(&name));
    let pin = pin.map(|(directory, _)| directory.join(name));
    if let Some(pin) = pin.as_ref().filter(|pin| pin.exists()) {
        return MapData::from_pin(pin);
    }
    let mut definition = definition.clone();
    if let Some(entries) = wanted.entries.get(name) {
        definition.set_max_entries(*entries);
    }
    let (contents, section) = (definition.data().to_vec(), definition.section_kind());
    let data = MapData::create(definition, name, types)?;
    if !contents.is_empty() {
        sys::fill(data.fd().as_fd(), &contents)?;
    }
    // What cannot change any more the verifier takes for constants.
    if section == EbpfSectionKind::Rodata {
        sys::freeze(data.fd().as_fd())?;
    }
    if let Some(pin) = &pin {
        sys::pin(data.fd().as_fd(), pin)?;
    }
    Ok(data)
}

/// Gives the object's type information to the kernel, as far as that knows it.
fn load_types(object: &mut Object) -> Result<Option<OwnedFd>, KernelError> {
    let Some(features) = aya::features().btf() else { return Ok(None) };
    let types = object.fixup_and_sanitize_btf(features);
    let Some(types) = types.map_err(|error| object_error(error.into()))? else { return Ok(None) };
    let loaded = sys::load_types(&types.to_bytes());
    loaded.map(Some).map_err(|error| object_error(MapError::IoError(error).into()))
}

fn object_error(error: EbpfError) -> KernelError {
    let what = "creating a map";
    match error {
        EbpfError::MapError(
            MapError::CreateError { io_error: source, .. } | MapError::IoError(source),
        ) if is_permission(&source) => KernelError::Permission { what, source },
        EbpfError::MapError(MapError::SyscallError(syscall))
            if is_permission(&syscall.io_error) =>
        {
            KernelError::Permission { what, source: syscall.io_error }
        }
        other => KernelError::Object(Box::new(other)),
    }
}
