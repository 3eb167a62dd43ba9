mod compile;
mod deployed;
mod diagnostics;
mod explain;
mod host;
mod property;
mod reference;
