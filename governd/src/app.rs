//! Composition root: settings become an application, which runs until it is drained.
