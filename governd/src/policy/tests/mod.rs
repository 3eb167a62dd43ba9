mod compile;
mod deployed;
mod diagnostics;
mod explain;
mod groups;
mod host;
mod property;
mod reference;
