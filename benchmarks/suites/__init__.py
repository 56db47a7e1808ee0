"""One file per subject; each offers `rows()`."""
