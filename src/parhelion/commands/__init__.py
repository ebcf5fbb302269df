"""Commands that are too long for one file with all others."""
