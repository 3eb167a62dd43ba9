mod diagnostics;
