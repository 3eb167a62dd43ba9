mod compile;
mod diagnostics;
mod host;
mod property;
mod reference;
