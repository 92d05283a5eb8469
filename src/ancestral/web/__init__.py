"""The studio: one local page on all runs under a folder, by a server that never imports torch."""
